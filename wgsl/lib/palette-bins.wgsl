// Bins of the palettes' histogram. On each side of zero, octave o, where 1 + |x| has the leading bit 2^o, has 2^(10-o) bins
// of 4^o units of 2^-10. A fixed-point value has 18 bits of fraction.
const SIDE_BINS = 2048u;
const BINS = 4096u;
const FIXED_BITS = 18u;
const ONE = 1u << FIXED_BITS;

struct BinPlace {
  bin: u32, // of its side, from zero
  part: u32, // how far in it, away from zero, in 256ths
}

fn bin_of(magnitude: u32) -> BinPlace {
  let v = magnitude + ONE;
  let octave = 31u - FIXED_BITS - countLeadingZeros(v);
  let width = FIXED_BITS - 10u + 2u * octave;
  let along = v - (ONE << octave);
  return BinPlace(SIDE_BINS - (SIDE_BINS >> octave) + (along >> width), (along >> (width - 8u)) & 255u);
}

fn octave_of(bin: u32) -> u32 {
  return countLeadingZeros(SIDE_BINS - 1u - bin) - 21u;
}

// Where a bin begins, and how wide it is, in units of 2^-10.
fn bin_start(bin: u32) -> u32 {
  let octave = octave_of(bin);
  return (((1u << octave) - 1u) << 10u) + ((bin + (SIDE_BINS >> octave) - SIDE_BINS) << (2u * octave));
}

fn bin_width(bin: u32) -> u32 {
  return 1u << (2u * octave_of(bin));
}

// The edge between bins that is nearest to a fixed-point value, counted from the lowest bin on.
fn border_at(value: i32) -> u32 {
  let v = u32(abs(value)) + ONE;
  let octave = 31u - FIXED_BITS - countLeadingZeros(v);
  let width = FIXED_BITS - 10u + 2u * octave;
  let edge = SIDE_BINS - (SIDE_BINS >> octave) + ((v - (ONE << octave) + (1u << (width - 1u))) >> width);
  return select(SIDE_BINS + edge, SIDE_BINS - edge, value < 0);
}
