// Trains the network of cnn8.c on Fashion-MNIST in single precision, then quantises it to eight bits: activations to
// u8 by their largest value over 500 training images, weights to i8 per layer, biases to i32.
//
//   clang-19 -O3 -o train train.c -lm && ./train 5        # epochs; writes model.bin to the current folder
//
// Reads the unpacked files train-images, train-labels, t10k-images and t10k-labels (IDX format, Debian package
// dataset-fashion-mnist). It runs on the host and uses the host's expf, so another machine may train a slightly
// different network; the committed one is ../../data/cnn8-model.bin.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  SIDE1 = 28, CHANNELS1 = 8,
  SIDE2 = 14, CHANNELS2 = 16,
  SIDE3 = 7,  FEATURES = SIDE3 * SIDE3 * CHANNELS2, CLASSES = 10,
  PIXELS = SIDE1 * SIDE1,
  TRAINING = 60000, TESTS = 10000, BATCH = 32, CALIBRATION = 500,
  ARRAYS = 6,
};

// Parameters, and for each its gradient and momentum.
static float weights1[9 * CHANNELS1], bias1[CHANNELS1];
static float weights2[9 * CHANNELS1 * CHANNELS2], bias2[CHANNELS2];
static float weights3[CLASSES * FEATURES], bias3[CLASSES];

static float *const parameter[ARRAYS] = {weights1, bias1, weights2, bias2, weights3, bias3};
static const int length[ARRAYS] = {9 * CHANNELS1, CHANNELS1, 9 * CHANNELS1 * CHANNELS2, CHANNELS2,
                                   CLASSES * FEATURES, CLASSES};
static float *gradient[ARRAYS], *momentum[ARRAYS];

// Activations of the last image, and which of four values each pool took.
static float image[(SIDE1 + 2) * (SIDE1 + 2)];
static float conv1[SIDE1 * SIDE1 * CHANNELS1], pool1[(SIDE2 + 2) * (SIDE2 + 2) * CHANNELS1];
static float conv2[SIDE2 * SIDE2 * CHANNELS2], pool2[FEATURES];
static int taken1[SIDE2 * SIDE2 * CHANNELS1], taken2[FEATURES];

static unsigned char *read_file(const char *path, long skip, size_t size) {
  FILE *file = fopen(path, "rb");
  unsigned char *bytes = malloc(size);
  if (!file || !bytes || fseek(file, skip, SEEK_SET) || fread(bytes, 1, size, file) != size) {
    fprintf(stderr, "cannot read %zu bytes of %s\n", size, path);
    exit(1);
  }
  fclose(file);
  return bytes;
}

// A 3x3 convolution with ReLU over an input that has a border of one.
static void convolve(const float *in, int side, int from, const float *weights, const float *bias, int to, float *out) {
  for (int y = 0; y < side; y++) {
    for (int x = 0; x < side; x++) {
      float *sum = out + (y * side + x) * to;
      memcpy(sum, bias, to * sizeof *sum);
      for (int k = 0; k < 9; k++) {
        const float *pixel = in + ((y + k / 3) * (side + 2) + x + k % 3) * from;
        for (int c = 0; c < from; c++) {
          for (int o = 0; o < to; o++) sum[o] += pixel[c] * weights[(k * from + c) * to + o];
        }
      }
      for (int o = 0; o < to; o++) sum[o] = sum[o] > 0 ? sum[o] : 0;
    }
  }
}

static void pool(const float *in, int side, int channels, float *out, int pitch, int *taken) {
  for (int y = 0; y < side / 2; y++) {
    for (int x = 0; x < side / 2; x++) {
      for (int c = 0; c < channels; c++) {
        float best = -1;
        for (int k = 0; k < 4; k++) {
          int at = ((2 * y + k / 2) * side + 2 * x + k % 2) * channels + c;
          if (in[at] <= best) continue;
          best = in[at];
          taken[(y * (side / 2) + x) * channels + c] = at;
        }
        out[(y * pitch + x) * channels + c] = best;
      }
    }
  }
}

static void forward(const unsigned char *pixels, float *scores) {
  for (int y = 0; y < SIDE1; y++) {
    for (int x = 0; x < SIDE1; x++) image[(y + 1) * (SIDE1 + 2) + x + 1] = pixels[y * SIDE1 + x] / 255.0f;
  }
  convolve(image, SIDE1, 1, weights1, bias1, CHANNELS1, conv1);
  pool(conv1, SIDE1, CHANNELS1, pool1 + (SIDE2 + 3) * CHANNELS1, SIDE2 + 2, taken1);
  convolve(pool1, SIDE2, CHANNELS1, weights2, bias2, CHANNELS2, conv2);
  pool(conv2, SIDE2, CHANNELS2, pool2, SIDE3, taken2);
  for (int o = 0; o < CLASSES; o++) {
    scores[o] = bias3[o];
    for (int i = 0; i < FEATURES; i++) scores[o] += weights3[o * FEATURES + i] * pool2[i];
  }
}

// Adds the gradients of one image, given the derivative of the loss by the scores.
static void backward(const float *by_scores) {
  static float by_pool2[FEATURES], by_conv2[SIDE2 * SIDE2 * CHANNELS2], by_pool1[(SIDE2 + 2) * (SIDE2 + 2) * CHANNELS1];
  memset(by_pool2, 0, sizeof by_pool2);
  memset(by_conv2, 0, sizeof by_conv2);
  memset(by_pool1, 0, sizeof by_pool1);
  for (int o = 0; o < CLASSES; o++) {
    gradient[5][o] += by_scores[o];
    for (int i = 0; i < FEATURES; i++) {
      gradient[4][o * FEATURES + i] += by_scores[o] * pool2[i];
      by_pool2[i] += by_scores[o] * weights3[o * FEATURES + i];
    }
  }
  for (int i = 0; i < FEATURES; i++) {
    if (conv2[taken2[i]] > 0) by_conv2[taken2[i]] += by_pool2[i];
  }
  for (int y = 0; y < SIDE2; y++) {
    for (int x = 0; x < SIDE2; x++) {
      const float *by = by_conv2 + (y * SIDE2 + x) * CHANNELS2;
      for (int o = 0; o < CHANNELS2; o++) gradient[3][o] += by[o];
      for (int k = 0; k < 9; k++) {
        for (int c = 0; c < CHANNELS1; c++) {
          int from = ((y + k / 3) * (SIDE2 + 2) + x + k % 3) * CHANNELS1 + c, weight = (k * CHANNELS1 + c) * CHANNELS2;
          for (int o = 0; o < CHANNELS2; o++) {
            gradient[2][weight + o] += pool1[from] * by[o];
            by_pool1[from] += weights2[weight + o] * by[o];
          }
        }
      }
    }
  }
  for (int i = 0; i < SIDE2 * SIDE2 * CHANNELS1; i++) {
    int c = i % CHANNELS1, x = i / CHANNELS1 % SIDE2, y = i / CHANNELS1 / SIDE2, at = taken1[i];
    float by = by_pool1[((y + 1) * (SIDE2 + 2) + x + 1) * CHANNELS1 + c];
    if (conv1[at] <= 0 || by == 0) continue;
    int column = at / CHANNELS1 % SIDE1, row = at / CHANNELS1 / SIDE1;
    gradient[1][c] += by;
    for (int k = 0; k < 9; k++) {
      gradient[0][k * CHANNELS1 + c] += by * image[(row + k / 3) * (SIDE1 + 2) + column + k % 3];
    }
  }
}

// Turns scores into the derivative of the cross-entropy and returns the loss.
static float cross_entropy(float *scores, int label) {
  float largest = scores[0], sum = 0;
  for (int o = 1; o < CLASSES; o++) largest = fmaxf(largest, scores[o]);
  for (int o = 0; o < CLASSES; o++) sum += scores[o] = expf(scores[o] - largest);
  for (int o = 0; o < CLASSES; o++) scores[o] /= sum;
  float loss = -logf(scores[label] + 1e-9f);
  scores[label] -= 1;
  return loss;
}

static double epoch(const unsigned char *images, const unsigned char *labels, float rate) {
  double loss = 0;
  for (int batch = 0; batch < TRAINING / BATCH; batch++) {
    for (int p = 0; p < ARRAYS; p++) memset(gradient[p], 0, length[p] * sizeof(float));
    for (int k = 0; k < BATCH; k++) {
      int i = (int)(((unsigned)rand() * 32768u + (unsigned)rand()) % TRAINING);
      float scores[CLASSES];
      forward(images + (size_t)i * PIXELS, scores);
      loss += cross_entropy(scores, labels[i]);
      backward(scores);
    }
    for (int p = 0; p < ARRAYS; p++) {
      for (int i = 0; i < length[p]; i++) {
        momentum[p][i] = 0.9f * momentum[p][i] + gradient[p][i] / BATCH;
        parameter[p][i] -= rate * momentum[p][i];
      }
    }
  }
  return loss / TRAINING;
}

static double accuracy(const unsigned char *images, const unsigned char *labels) {
  int right = 0;
  for (int i = 0; i < TESTS; i++) {
    float scores[CLASSES];
    int best = 0;
    forward(images + (size_t)i * PIXELS, scores);
    for (int o = 1; o < CLASSES; o++) best = scores[o] > scores[best] ? o : best;
    right += best == labels[i];
  }
  return right / (double)TESTS;
}

// About normally distributed: the sum of twelve uniform numbers less six.
static float normal(void) {
  float sum = -6;
  for (int i = 0; i < 12; i++) sum += (float)rand() / (float)RAND_MAX;
  return sum;
}

static void initialise(void) {
  const float spread[ARRAYS] = {0.3f, 0, 0.15f, 0, 0.03f, 0};
  srand(1);
  for (int p = 0; p < ARRAYS; p++) {
    gradient[p] = calloc(length[p], sizeof(float));
    momentum[p] = calloc(length[p], sizeof(float));
    for (int i = 0; i < length[p] && spread[p] > 0; i++) parameter[p][i] = normal() * spread[p];
  }
}

static float largest(const float *values, int count, float so_far) {
  for (int i = 0; i < count; i++) so_far = fmaxf(so_far, fabsf(values[i]));
  return so_far;
}

// Writes the model in the form that cnn8.c reads. A number is its integer times the scale of its layer.
static int write_model(const unsigned char *images) {
  float most[2] = {0, 0}, in_scale = 1 / 255.0f;
  for (int i = 0; i < CALIBRATION; i++) {
    float scores[CLASSES];
    forward(images + (size_t)i * PIXELS, scores);
    most[0] = largest(conv1, SIDE1 * SIDE1 * CHANNELS1, most[0]);
    most[1] = largest(conv2, SIDE2 * SIDE2 * CHANNELS2, most[1]);
  }
  FILE *file = fopen("model.bin", "wb");
  if (!file) return 1;
  fwrite("SHQ1", 1, 4, file);
  for (int layer = 0; layer < 3; layer++) {
    const float *weights = parameter[2 * layer], *bias = parameter[2 * layer + 1];
    float scale = largest(weights, length[2 * layer], 0) / 127, out_scale = layer < 2 ? most[layer] / 255 : 0;
    int multiplier = layer < 2 ? (int)lrintf(in_scale * scale / out_scale * 16777216.0f) : 0;
    fwrite(&multiplier, 4, 1, file);
    for (int i = 0; i < length[2 * layer + 1]; i++) {
      int value = (int)lrintf(bias[i] / (in_scale * scale));
      fwrite(&value, 4, 1, file);
    }
    for (int i = 0; i < length[2 * layer]; i++) {
      signed char value = (signed char)lrintf(weights[i] / scale);
      fwrite(&value, 1, 1, file);
    }
    in_scale = out_scale;
  }
  return fclose(file);
}

int main(int argc, char **argv) {
  int epochs = argc > 1 ? atoi(argv[1]) : 5;
  unsigned char *images = read_file("train-images", 16, (size_t)TRAINING * PIXELS);
  unsigned char *labels = read_file("train-labels", 8, TRAINING);
  unsigned char *test_images = read_file("t10k-images", 16, (size_t)TESTS * PIXELS);
  unsigned char *test_labels = read_file("t10k-labels", 8, TESTS);
  float rate = 0.05f;
  initialise();
  for (int e = 0; e < epochs; e++, rate *= 0.6f) {
    double loss = epoch(images, labels, rate);
    printf("epoch %d: loss %.4f, %.2f %% of the test images right\n", e, loss, 100 * accuracy(test_images, test_labels));
  }
  return write_model(images);
}
