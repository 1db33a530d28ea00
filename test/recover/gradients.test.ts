/** Every piece of the backward pass against finite differences. */
import { describe, expect, it } from "vitest";
import { multiply, multiplyTransposed } from "../../runtime/compute/multiply";
import { attend, LayerCache } from "../../runtime/engine/reference/attention";
import { ropeTable } from "../../runtime/engine/rope-table";
import { makeRotation, rotationSpec } from "../../runtime/formats/rotation";
import { attention, attentionBack } from "../../runtime/recover/attention";
import { divergence, headInput } from "../../runtime/recover/head";
import { linear, linearBack } from "../../runtime/recover/low-rank";
import { outerSum, transpose } from "../../runtime/recover/matrix";
import { norm, normBack } from "../../runtime/recover/norm";
import { swiglu, swigluBack } from "../../runtime/recover/swiglu";
import { makeRandom } from "../palettize/random";
import { combine, expectGradient } from "./finite-difference";

const random = makeRandom(7);
const normals = (length: number, scale = 1) => random.normals(length).map((value) => scale * value);

describe("matrix products", () => {
  it("are what their names say", () => {
    const [T, rows, cols] = [5, 7, 3];
    const weight = normals(rows * cols);
    const dy = normals(T * rows);
    const x = normals(T * cols);
    expect(transpose(transpose(weight, rows, cols), cols, rows)).toEqual(weight);
    expect(transpose(weight, rows, cols)[2 * rows + 6]).toBe(weight[6 * cols + 2]);
    const y = multiply(weight, x, T);
    // <dy, W x> = <W^T dy, x> = <dy x^T, W>
    const product = combine(y, dy);
    expect(combine(multiplyTransposed(weight, dy, T), x)).toBeCloseTo(product, 4);
    expect(combine(outerSum(dy, x, T), weight)).toBeCloseTo(product, 4);
  });
});

describe("gradients", () => {
  it("norm", () => {
    const x = normals(3 * 6);
    const weights = normals(x.length);
    expectGradient(() => combine(norm(x, 6, 1e-5).y, weights), x, normBack(norm(x, 6, 1e-5), weights));
  });

  it("swiglu", () => {
    const [gate, up, weights] = [normals(20), normals(20), normals(20)];
    const { dGate, dUp } = swigluBack(gate, up, weights);
    const loss = () => combine(swiglu(gate, up), weights);
    expectGradient(loss, gate, dGate);
    expectGradient(loss, up, dUp);
  });

  it("a linear with a low-rank term", () => {
    const [T, rows, cols, rank] = [6, 10, 8, 3];
    const [weight, a, b, x, weights] = [rows * cols, rank * cols, rows * rank, T * cols, T * rows].map((n) => normals(n));
    const gradient = { a: new Float32Array(a.length).fill(1), b: new Float32Array(b.length).fill(2) };
    const { low } = linear(weight, { a, b }, x, T);
    const dx = linearBack(weight, { a, b }, { x, low }, weights, T, gradient);
    const loss = () => combine(linear(weight, { a, b }, x, T).y, weights);
    expectGradient(loss, x, dx);
    // They are added to what is there.
    expectGradient(
      loss,
      a,
      gradient.a.map((value) => value - 1),
    );
    expectGradient(
      loss,
      b,
      gradient.b.map((value) => value - 2),
    );
  });

  const [T, H, G, d] = [9, 6, 2, 4];
  const shape = { T, H, G, d, rope: ropeTable({ theta: 100 }, d, T) };
  const forward = (q: Float32Array, k: Float32Array, v: Float32Array) => attention(q.slice(), k.slice(), v.slice(), shape);

  it("attention", () => {
    const [q, k, v, weights] = [T * H * d, T * G * d, T * G * d, T * H * d].map((n) => normals(n));
    const { dq, dk, dv } = attentionBack(forward(q, k, v), weights, shape);
    const loss = () => combine(forward(q, k, v).y, weights);
    expectGradient(loss, q, dq);
    expectGradient(loss, k, dk);
    expectGradient(loss, v, dv);
  });

  it("attention is the reference model's", () => {
    const [q, k, v] = [T * H * d, T * G * d, T * G * d].map((n) => normals(n));
    const [turnedQ, turnedK] = [q.slice(), k.slice()];
    const { y } = attention(turnedQ, turnedK, v.slice(), shape);
    const cache = new LayerCache(G, d, T, "f32");
    cache.write(turnedK, v, T, 0);
    const expected = attend(turnedQ, cache, T, 0);
    y.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 5);
    });
  });

  it("divergence of the head", () => {
    const [tokens, D, V] = [40, 12, 17];
    const rotation = makeRotation(rotationSpec(D, 3));
    const head = { D, normEps: 1e-5, rotation, finalNorm: normals(D), head: normals(V * D) };
    const [x, teacher] = [normals(tokens * D), normals(tokens * D)];
    const teacherHead = head.head.map((value) => value + 0.1 * random.normal());
    const expected = headInput(teacher, head);
    const { kl, dx } = divergence(x, head, expected, teacherHead);
    expect(kl).toBeGreaterThan(0);
    expectGradient(() => divergence(x, head, expected, teacherHead).kl, x, dx);
    expect(divergence(teacher, head, expected, head.head).kl).toBeCloseTo(0, 6);
  });
});
