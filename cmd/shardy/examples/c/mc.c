// Prices an Asian call option (payoff on the mean of the path) by Monte Carlo. Every random number is a hash of
// (seed, path, step), so chunks depend on nothing but their range of paths.
// Chunk: Paths. Output: f64 sum of discounted payoffs, f64 sum of their squares, u64 paths.
#include "shardy.h"

typedef struct {
  u64 seed;
  u32 first, paths, steps, zero;
  f64 spot, strike, rate, volatility, years;
} Paths;

static const f64 LN2 = 0.6931471805599453;

// SplitMix64's finaliser (Steele, Lea, Flood 2014).
static inline u64 mix(u64 z) {
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

// ln(x) for normal positive x: 2 atanh((m-1)/(m+1)) + e ln 2 with m in [sqrt(1/2), sqrt(2)].
static f64 ln(f64 x) {
  u64 bits = f64_bits(x);
  i64 exponent = (i64)(bits >> 52) - 1023;
  f64 m = f64_from((bits & 0xfffffffffffffull) | 1023ull << 52);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  f64 s = (m - 1) / (m + 1), square = s * s, p = 1.0 / 19;
  for (i32 k = 17; k >= 1; k -= 2) p = p * square + 1.0 / k;
  return 2 * s * p + (f64)exponent * LN2;
}

// e^x for |x| < 700: 2^k e^r with a Taylor polynomial.
static f64 power_e(f64 x) {
  f64 k = __builtin_rint(x * 1.4426950408889634), r = x - k * LN2, p = 1;
  for (i32 i = 14; i >= 1; i--) p = 1 + p * r / i;
  return p * f64_from((u64)((i64)k + 1023) << 52);
}

static inline f64 horner(const f64 *c, i32 n, f64 x) {
  f64 p = c[0];
  for (i32 i = 1; i < n; i++) p = p * x + c[i];
  return p;
}

// Inverse of the normal distribution, Acklam's rational approximation (relative error 1.15e-9).
static f64 normal(u64 random) {
  static const f64 a[] = {-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02,
                          1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  static const f64 b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                          6.680131188771972e+01,  -1.328068155288572e+01, 1};
  static const f64 c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                          -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  static const f64 d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                          3.754408661907416e+00, 1};
  const f64 tail = 0.02425;
  f64 u = ((f64)(random >> 11) + 0.5) * (1.0 / 9007199254740992.0);
  if (u < tail || u > 1 - tail) {
    f64 q = __builtin_sqrt(-2 * ln(u < tail ? u : 1 - u)), x = horner(c, 6, q) / horner(d, 5, q);
    return u < tail ? x : -x;
  }
  f64 q = u - 0.5, r = q * q;
  return horner(a, 6, r) * q / horner(b, 6, r);
}

u64 SHARDY_EXPORT(shardy_run)(const Paths *in, u32 size) {
  if (size != sizeof(Paths) || in->steps == 0 || in->zero) __builtin_trap();
  const u64 golden = 0x9E3779B97F4A7C15ull;
  f64 dt = in->years / in->steps;
  f64 drift = (in->rate - 0.5 * in->volatility * in->volatility) * dt;
  f64 spread = in->volatility * __builtin_sqrt(dt);
  f64 discount = power_e(-in->rate * in->years);
  f64 sum = 0, squares = 0;
  for (u32 p = 0; p < in->paths; p++) {
    u64 key = mix(in->seed + golden * (in->first + (u64)p));
    f64 log_price = 0, total = 0;
    for (u32 s = 1; s <= in->steps; s++) {
      log_price += drift + spread * normal(mix(key + golden * s));
      total += in->spot * power_e(log_price);
    }
    f64 payoff = total / in->steps - in->strike;
    payoff = payoff > 0 ? payoff * discount : 0;
    sum += payoff;
    squares += payoff * payoff;
  }
  f64 *out = shardy_take(24);
  out[0] = sum;
  out[1] = squares;
  ((u64 *)out)[2] = in->paths;
  return shardy_output(out, 24);
}
