// Path tracer: one tile of a picture of six spheres on a chequered floor under a lamp.
// Chunk: Tile. Output: tile_width * tile_height pixels of three bytes (red, green, blue), row by row.
#include "shardy.h"

typedef struct {
  u32 width, height;                      // of the picture, in pixels
  u32 left, top, tile_width, tile_height; // of the tile
  u32 samples, bounces;                   // per pixel, per sample
  u64 seed;
} Tile;

typedef struct {
  f32 x, y, z;
} Vec;

typedef struct {
  Vec centre;
  f32 radius;
  Vec colour;
  f32 mirror; // share of the light that is reflected
  f32 glow;   // light of its own
} Sphere;

enum { FLOOR = 0, SPHERES = 7 };

static const Sphere scene[SPHERES] = {
    {{0, -1000, 0}, 1000, {0.75f, 0.75f, 0.72f}, 0.05f, 0},
    {{-1.15f, 0.9f, -0.3f}, 0.9f, {0.9f, 0.25f, 0.2f}, 0.05f, 0},
    {{0.85f, 0.75f, 0.45f}, 0.75f, {0.95f, 0.95f, 0.98f}, 0.9f, 0},
    {{0.1f, 0.35f, 1.5f}, 0.35f, {0.2f, 0.45f, 0.9f}, 0.25f, 0},
    {{1.9f, 0.4f, 1.3f}, 0.4f, {0.25f, 0.8f, 0.35f}, 0.1f, 0},
    {{-2.2f, 0.45f, 1.1f}, 0.45f, {0.95f, 0.75f, 0.2f}, 0.5f, 0},
    {{-1.5f, 4.6f, 2.2f}, 1.1f, {1, 0.93f, 0.8f}, 0, 7},
};

static inline Vec vec(f32 x, f32 y, f32 z) { return (Vec){x, y, z}; }
static inline Vec add(Vec a, Vec b) { return vec(a.x + b.x, a.y + b.y, a.z + b.z); }
static inline Vec sub(Vec a, Vec b) { return vec(a.x - b.x, a.y - b.y, a.z - b.z); }
static inline Vec scale(Vec a, f32 s) { return vec(a.x * s, a.y * s, a.z * s); }
static inline Vec tint(Vec a, Vec b) { return vec(a.x * b.x, a.y * b.y, a.z * b.z); }
static inline f32 dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static inline Vec unit(Vec a) { return scale(a, 1 / __builtin_sqrtf(dot(a, a))); }

// PCG-XSH-RR (O'Neill 2014), seeded per pixel so that tiles do not depend on each other.
static u64 state;

static inline u32 next(void) {
  u64 old = state;
  state = old * 6364136223846793005ull + 1442695040888963407ull;
  u32 mixed = (u32)(((old >> 18) ^ old) >> 27), turn = (u32)(old >> 59);
  return mixed >> turn | mixed << (-turn & 31);
}

static inline f32 uniform(void) { return (f32)(next() >> 8) * (1.0f / 16777216.0f); }

static void seed_pixel(u64 seed, u32 x, u32 y) {
  state = seed ^ ((u64)y << 32 | x);
  next();
  state ^= state >> 31;
  next();
}

// The nearest sphere that the ray hits, or -1. The distance term is taken in double precision: the floor's
// radius would cost it all its digits.
static i32 nearest(Vec from, Vec along, f32 *distance) {
  i32 found = -1;
  *distance = 1e9f;
  for (i32 i = 0; i < SPHERES; i++) {
    Vec to = sub(from, scene[i].centre);
    f64 x = to.x, y = to.y, z = to.z, r = scene[i].radius;
    f32 b = dot(to, along), c = (f32)(x * x + y * y + z * z - r * r), d = b * b - c;
    if (d <= 0) continue;
    f32 root = __builtin_sqrtf(d), t = -b - root;
    if (t < 1e-3f) t = -b + root;
    if (t > 1e-3f && t < *distance) {
      *distance = t;
      found = i;
    }
  }
  return found;
}

static Vec sky(Vec along) {
  f32 up = 0.5f * (along.y + 1);
  return add(scale(vec(1, 1, 1), 0.55f * (1 - up)), scale(vec(0.35f, 0.5f, 0.9f), 0.55f * up));
}

static Vec colour_at(i32 sphere, Vec at) {
  Vec colour = scene[sphere].colour;
  if (sphere != FLOOR) return colour;
  i32 square = (i32)__builtin_floorf(at.x * 1.3f) + (i32)__builtin_floorf(at.z * 1.3f);
  return square & 1 ? scale(colour, 0.45f) : colour;
}

static Vec scatter(Vec normal) {
  Vec point;
  do {
    point = vec(2 * uniform() - 1, 2 * uniform() - 1, 2 * uniform() - 1);
  } while (dot(point, point) > 1 || dot(point, point) < 1e-4f);
  Vec along = unit(add(normal, unit(point)));
  return dot(along, along) > 0.5f ? along : normal; // the sum may vanish
}

static Vec trace(Vec from, Vec along, u32 bounces) {
  Vec light = vec(0, 0, 0), through = vec(1, 1, 1);
  for (u32 k = 0; k <= bounces; k++) {
    f32 distance;
    i32 i = nearest(from, along, &distance);
    if (i < 0) return add(light, tint(through, sky(along)));
    if (scene[i].glow > 0) return add(light, tint(through, scale(scene[i].colour, scene[i].glow)));
    Vec at = add(from, scale(along, distance)), normal = unit(sub(at, scene[i].centre));
    through = tint(through, colour_at(i, at));
    if (uniform() < scene[i].mirror) {
      along = unit(sub(along, scale(normal, 2 * dot(along, normal))));
    } else {
      along = scatter(normal);
    }
    from = add(at, scale(normal, 1e-3f));
  }
  return light;
}

// Compresses the lights and applies a gamma of 2.
static u8 tone(f32 light) {
  f32 g = __builtin_sqrtf(light / (1 + light * 0.35f));
  if (!(g < 1)) g = 1;
  return (u8)(g * 255 + 0.5f);
}

u64 SHARDY_EXPORT(shardy_run)(const Tile *tile, u32 size) {
  if (size != sizeof(Tile) || tile->samples == 0) __builtin_trap();
  if (tile->tile_width > 4096 || tile->tile_height > 4096) __builtin_trap();
  u32 bytes = tile->tile_width * tile->tile_height * 3;
  u8 *out = shardy_take(bytes), *pixel = out;
  f32 width = (f32)tile->width, height = (f32)tile->height, aspect = width / height;
  Vec eye = vec(0, 1.5f, 5.2f);
  for (u32 y = tile->top; y < tile->top + tile->tile_height; y++) {
    for (u32 x = tile->left; x < tile->left + tile->tile_width; x++, pixel += 3) {
      seed_pixel(tile->seed, x, y);
      Vec sum = vec(0, 0, 0);
      for (u32 s = 0; s < tile->samples; s++) {
        f32 right = ((f32)x + uniform()) / width * 2 - 1;
        f32 up = 1 - ((f32)y + uniform()) / height * 2;
        Vec along = unit(vec(right * aspect * 0.62f, up * 0.62f - 0.13f, -1));
        sum = add(sum, trace(eye, along, tile->bounces));
      }
      sum = scale(sum, 1 / (f32)tile->samples);
      pixel[0] = tone(sum.x);
      pixel[1] = tone(sum.y);
      pixel[2] = tone(sum.z);
    }
  }
  return shardy_output(out, bytes);
}
