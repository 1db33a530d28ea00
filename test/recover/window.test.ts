import { describe, it } from "vitest";
import { linearShape } from "../../runtime/formats/check-tensors";
import { LINEARS } from "../../runtime/formats/palettized";
import { makeRotation, rotationSpec } from "../../runtime/formats/rotation";
import type { LinearWeights } from "../../runtime/palettize/token-stream";
import { headInput } from "../../runtime/recover/head";
import { layerTerms, parameterCount } from "../../runtime/recover/parameters";
import { type Student, windowGradient } from "../../runtime/recover/window";
import { tinyConfig } from "../palettize/checkpoint";
import { makeRandom } from "../palettize/random";
import { expectGradient } from "./finite-difference";

const random = makeRandom(3);
const normals = (length: number, scale: number) => random.normals(length).map((value) => scale * value);
const config = tinyConfig({ H: 4, G: 2, d: 8, D: 32, F: 48 });
const { D, V } = config;
const layers = Array.from({ length: config.L }, () => {
  const weights = {} as LinearWeights;
  for (const linear of LINEARS) {
    const [rows, cols] = linearShape(config, linear);
    weights[linear] = normals(rows * cols, 1 / Math.sqrt(cols));
  }
  return weights;
});
const embedding = normals(V * D, 1);
const rotation = makeRotation(rotationSpec(D, 2));
const head = { D, normEps: config.normEps, rotation, finalNorm: normals(D, 0.3), head: embedding };
const rank = 2;
const student: Student = { config, rank, embedding, layers, head, teacherHead: embedding };
const ids = [4, 9, 2, 33, 17, 8, 41, 5];
const window = { ids, expected: headInput(normals(ids.length * D, 1), head) };

describe("windowGradient", { timeout: 60_000 }, () => {
  it("is the gradient by every low-rank term of both layers", () => {
    const parameters = normals(parameterCount(config, rank), 0.2);
    const { gradient } = windowGradient(student, parameters, window);
    const [views, gradients] = [layerTerms(config, rank, parameters), layerTerms(config, rank, gradient)];
    for (const [layer, terms] of views.entries()) {
      for (const linear of LINEARS) {
        for (const part of ["a", "b"] as const)
          expectGradient(
            () => windowGradient(student, parameters, window).kl,
            terms[linear][part],
            gradients[layer][linear][part],
          );
      }
    }
  });
});
