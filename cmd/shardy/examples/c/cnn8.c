// Int8 convolutional network over 28x28 grey images: conv 3x3 to 8 channels, ReLU, max pool 2x2, conv 3x3 to 16
// channels, ReLU, max pool 2x2, fully connected to 10 classes. Integers only.
// Chunk: u32 images, u32 model bytes, the model (padded to a multiple of 4), the images of 784 bytes each.
// Output: ten i32 scores per image.
//
// Model: "SHQ1", then per layer an i32 multiplier (2^24 = 1), i32 biases and i8 weights (see train.c).
#include "shardy.h"

enum {
  SIDE1 = 28, CHANNELS1 = 8,  WEIGHTS1 = 9 * CHANNELS1,
  SIDE2 = 14, CHANNELS2 = 16, WEIGHTS2 = 9 * CHANNELS1 * CHANNELS2,
  SIDE3 = 7,  FEATURES = SIDE3 * SIDE3 * CHANNELS2, CLASSES = 10,
  PIXELS = SIDE1 * SIDE1,
  MODEL_BYTES = 4 + 3 * 4 + (CHANNELS1 + CHANNELS2 + CLASSES) * 4 + WEIGHTS1 + WEIGHTS2 + FEATURES * CLASSES,
};

static i32 scale1, bias1[CHANNELS1], scale2, bias2[CHANNELS2], bias3[CLASSES];
static i16 weights1[WEIGHTS1], weights2[WEIGHTS2];
static const i8 *weights3;

// Activations. Inputs of a convolution have a border of zeroes.
static u8 image[(SIDE1 + 2) * (SIDE1 + 2)];
static u8 conv1[SIDE1 * SIDE1 * CHANNELS1];
static u8 pool1[(SIDE2 + 2) * (SIDE2 + 2) * CHANNELS1];
static u8 conv2[SIDE2 * SIDE2 * CHANNELS2];
static u8 pool2[FEATURES];

static const u8 *read_i32(const u8 *from, i32 *to, u32 count) {
  __builtin_memcpy(to, from, count * 4);
  return from + count * 4;
}

static const u8 *read_weights(const u8 *from, i16 *to, u32 count) {
  for (u32 i = 0; i < count; i++) to[i] = ((const i8 *)from)[i];
  return from + count;
}

static void read_model(const u8 *at) {
  i32 unused;
  at = read_i32(at + 4, &scale1, 1);
  at = read_i32(at, bias1, CHANNELS1);
  at = read_weights(at, weights1, WEIGHTS1);
  at = read_i32(at, &scale2, 1);
  at = read_i32(at, bias2, CHANNELS2);
  at = read_weights(at, weights2, WEIGHTS2);
  at = read_i32(at, &unused, 1);
  at = read_i32(at, bias3, CLASSES);
  weights3 = (const i8 *)at;
}

// ReLU, then back to eight bits: sum * scale / 2^24, rounded and clamped.
static inline u8 quantise(i32 sum, i32 scale) {
  if (sum <= 0) return 0;
  i64 value = ((i64)sum * scale + (1 << 23)) >> 24;
  return value > 255 ? 255 : (u8)value;
}

static void convolve1(void) {
  for (u32 y = 0; y < SIDE1; y++) {
    for (u32 x = 0; x < SIDE1; x++) {
      i32 sum[CHANNELS1];
      for (u32 o = 0; o < CHANNELS1; o++) sum[o] = bias1[o];
      for (u32 k = 0; k < 9; k++) {
        i32 value = image[(y + k / 3) * (SIDE1 + 2) + x + k % 3];
        for (u32 o = 0; o < CHANNELS1; o++) sum[o] += value * weights1[k * CHANNELS1 + o];
      }
      for (u32 o = 0; o < CHANNELS1; o++) conv1[(y * SIDE1 + x) * CHANNELS1 + o] = quantise(sum[o], scale1);
    }
  }
}

static void convolve2(void) {
  for (u32 y = 0; y < SIDE2; y++) {
    for (u32 x = 0; x < SIDE2; x++) {
      i32 sum[CHANNELS2];
      for (u32 o = 0; o < CHANNELS2; o++) sum[o] = bias2[o];
      for (u32 k = 0; k < 9; k++) {
        const u8 *from = pool1 + ((y + k / 3) * (SIDE2 + 2) + x + k % 3) * CHANNELS1;
        for (u32 c = 0; c < CHANNELS1; c++) {
          i32 value = from[c];
          const i16 *weight = weights2 + (k * CHANNELS1 + c) * CHANNELS2;
          for (u32 o = 0; o < CHANNELS2; o++) sum[o] += value * weight[o];
        }
      }
      for (u32 o = 0; o < CHANNELS2; o++) conv2[(y * SIDE2 + x) * CHANNELS2 + o] = quantise(sum[o], scale2);
    }
  }
}

// The largest of four neighbours, per channel. The output has rows of `pitch` pixels and starts at `to`.
static inline void pool(const u8 *from, u32 side, u32 channels, u8 *to, u32 pitch) {
  for (u32 y = 0; y < side / 2; y++) {
    for (u32 x = 0; x < side / 2; x++) {
      for (u32 c = 0; c < channels; c++) {
        u8 best = 0;
        for (u32 k = 0; k < 4; k++) {
          u8 value = from[((2 * y + k / 2) * side + 2 * x + k % 2) * channels + c];
          if (value > best) best = value;
        }
        to[(y * pitch + x) * channels + c] = best;
      }
    }
  }
}

static void classify(i32 *scores) {
  for (u32 o = 0; o < CLASSES; o++) {
    i32 sum = bias3[o];
    for (u32 i = 0; i < FEATURES; i++) sum += (i32)weights3[o * FEATURES + i] * pool2[i];
    scores[o] = sum;
  }
}

u64 SHARDY_EXPORT(shardy_run)(const u8 *chunk, u32 size) {
  if (size < 8) __builtin_trap();
  u32 images, model;
  __builtin_memcpy(&images, chunk, 4);
  __builtin_memcpy(&model, chunk + 4, 4);
  u32 padded = (MODEL_BYTES + 3) & ~3u;
  if (model != MODEL_BYTES || size != 8ull + padded + (u64)images * PIXELS) __builtin_trap();
  read_model(chunk + 8);
  const u8 *pixels = chunk + 8 + padded;
  i32 *scores = shardy_take(images * CLASSES * 4);
  for (u32 n = 0; n < images; n++, pixels += PIXELS) {
    for (u32 y = 0; y < SIDE1; y++) __builtin_memcpy(image + (y + 1) * (SIDE1 + 2) + 1, pixels + y * SIDE1, SIDE1);
    convolve1();
    pool(conv1, SIDE1, CHANNELS1, pool1 + (SIDE2 + 2 + 1) * CHANNELS1, SIDE2 + 2);
    convolve2();
    pool(conv2, SIDE2, CHANNELS2, pool2, SIDE3);
    classify(scores + n * CLASSES);
  }
  return shardy_output(scores, images * CLASSES * 4);
}
