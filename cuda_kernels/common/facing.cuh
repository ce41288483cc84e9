// Which side of a triangle the eye sees, or none: triangles without area, and faces seen edge-on, draw nothing.
//   det(x, y, w) over the corners is the area's sign. Far from zero, double precision decides. Near it
//   - the exact determinant decides whether there is an area at all,
//   - a face whose determinant is within the rounding of its corners' coordinates is taken for edge-on, unless it is
//     a sliver in space as well: slivers close the gaps of the meshes that they belong to.
// Source: adaptive exact arithmetic (Shewchuk 1997; products split as by Dekker 1971).
#pragma once

#include "portability.cuh"

enum class Facing : int32_t { kClockwise = -1, kEdgeOn = 0, kCounterClockwise = 1, kNoArea = 2 };

GLR_FUNC bool can_be_seen(Facing facing) { return facing == Facing::kClockwise || facing == Facing::kCounterClockwise; }

constexpr double kCornerRounding = 1. / (1 << 22);            // of coordinates: 4 roundings of a float32
constexpr double kProductRounding = 1. / (int64_t(1) << 49);  // of a determinant, by its products: 16 of a float64
constexpr double kSplitter = 134217729.;                      // 2^27 + 1
constexpr double kSmallestSafe = 0x1p-700;                    // products of three such numbers do not underflow

struct Determinant {
  double value, noise;  // noise: what rounding the corners' coordinates, and this computation, may have made
  GLR_MEMBER bool is_certain() const { return fabs(value) > noise && noise > kSmallestSafe; }
};

// det(a, b, c) of the corners' coordinates; c is w. A matrix product rounds a and b by the largest coordinate. Products
// of two float32 numbers are exact: what this computation rounds is then far below what the corners do.
template <class T>
GLR_FUNC Determinant determinant(const double* a, const double* b, const double* c) {
  double value = 0, corners = 0, products = 0;
  for (int i = 0; i < 3; ++i) {
    const int j = i == 2 ? 0 : i + 1, k = i == 0 ? 2 : i - 1;
    const double ab = a[j] * b[k], ba = a[k] * b[j], term = c[i] * (ab - ba);
    const double by_a = fabs(c[k] * b[j] - c[j] * b[k]), by_b = fabs(a[k] * c[j] - a[j] * c[k]);
    value += term;
    corners += max(fabs(a[i]), max(fabs(b[i]), fabs(c[i]))) * (by_a + by_b) + fabs(term);
    if (sizeof(T) == 8) products += fabs(c[i]) * (fabs(ab) + fabs(ba));
  }
  return {value, kCornerRounding * corners + kProductRounding * products};
}

// A sum of doubles without rounding: parts that do not overlap, in ascending order of magnitude.
struct ExactSum {
  double parts[24];
  int count = 0;

  GLR_MEMBER void add(double term) {
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      const double sum = term + parts[i], shift = sum - term;
      const double rest = (term - (sum - shift)) + (parts[i] - shift);
      if (rest != 0) parts[kept++] = rest;
      term = sum;
    }
    if (term != 0) parts[kept++] = term;
    count = kept;
  }

  GLR_MEMBER void add_product(double a, double b) {
    const double product = a * b;
    const double a_high = kSplitter * a - (kSplitter * a - a), b_high = kSplitter * b - (kSplitter * b - b);
    const double a_low = a - a_high, b_low = b - b_high;
    add(a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low));
    add(product);
  }

  GLR_MEMBER int sign() const { return count == 0 ? 0 : parts[count - 1] > 0 ? 1 : -1; }
};

// Multiplies three numbers by the power of two that makes the largest about 1; false if all are zero.
GLR_FUNC bool scale_to_one(double* a, double* b, double* c) {
  const double largest = max(fabs(*a), max(fabs(*b), fabs(*c)));
  if (largest == 0) return false;
  const int exponent = -ilogb(largest);
  *a = ldexp(*a, exponent), *b = ldexp(*b, exponent), *c = ldexp(*c, exponent);
  return true;
}

// The sign of det(a, b, c). Exact for all float32 numbers, and for float64 numbers that are, in their corner and in
// their coordinate, not 2^300 times smaller than the largest.
GLR_FUNC int determinant_sign(const double* a_in, const double* b_in, const double* c_in) {
  double a[3], b[3], c[3];
  for (int i = 0; i < 3; ++i) {
    a[i] = a_in[i], b[i] = b_in[i], c[i] = c_in[i];
    if (!scale_to_one(a + i, b + i, c + i)) return 0;
  }
  if (!scale_to_one(a, a + 1, a + 2) || !scale_to_one(b, b + 1, b + 2) || !scale_to_one(c, c + 1, c + 2)) return 0;
  ExactSum sum;
  for (int i = 0; i < 3; ++i) {
    const int j = i == 2 ? 0 : i + 1, k = i == 0 ? 2 : i - 1;
    ExactSum pair;  // of products, of which a third factor makes products again
    pair.add_product(a[j], b[k]);
    pair.add_product(-a[k], b[j]);
    for (int p = 0; p < pair.count; ++p) sum.add_product(pair.parts[p], c[i]);
  }
  return sum.sign();
}

struct CornerCoordinates {
  double x[3], y[3], z[3], w[3];
};

// For triangles that have an area by no clear margin.
template <class T>
GLR_RARE Facing uncertain_facing(CornerCoordinates c) {
  const int sign = determinant_sign(c.x, c.y, c.w);
  if (sign == 0) return Facing::kNoArea;
  const bool face = determinant<T>(c.x, c.z, c.w).is_certain() || determinant<T>(c.y, c.z, c.w).is_certain();
  return face ? Facing::kEdgeOn : sign > 0 ? Facing::kCounterClockwise : Facing::kClockwise;
}

// Of three finite corners, whose coordinates come from numbers of type T.
template <class T>
GLR_FUNC Facing facing_of(const double* x, const double* y, const double* z, const double* w) {
  const Determinant det = determinant<T>(x, y, w);
  if (det.is_certain()) return det.value > 0 ? Facing::kCounterClockwise : Facing::kClockwise;
  // A copy, so that the caller's numbers may stay in registers.
  return uncertain_facing<T>({{x[0], x[1], x[2]}, {y[0], y[1], y[2]}, {z[0], z[1], z[2]}, {w[0], w[1], w[2]}});
}
