// How to choose the next token, set by the host once a reply.
struct Sampling {
  temperature: f32, // 0: the likeliest token
  top_k: u32,       // 0: off
  top_p: f32,       // 1: off
  min_p: f32,       // 0: off
  seed: u32,
  stops: u32,       // how many of stop_ids count
  filtered: u32,    // 1 when sample-threshold ran
  pad: u32,
  stop_ids: array<vec4<u32>, 4>,
}

struct Candidate {
  score: f32,
  id: u32,
}

// The better of two: higher score, lower id on a tie, so that the result does not depend on the order of comparison.
fn better(a: Candidate, b: Candidate) -> Candidate {
  if (b.score > a.score || (b.score == a.score && b.id < a.id)) {
    return b;
  }
  return a;
}
