// How the keys of a token are cut into at most SPLITS splits for attention-decode: by how many they are and nothing else, so that
// a token has the same sums in every step. Short caches still occupy a GPU, for a split has no more keys than it takes.
override SPLITS: u32;
override UNIT_KEYS: u32; // fewest keys of a split

fn split_keys(length: u32) -> u32 {
  return (length + SPLITS * UNIT_KEYS - 1u) / (SPLITS * UNIT_KEYS) * UNIT_KEYS;
}
