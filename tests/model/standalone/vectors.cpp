// Every function of whole vectors beside the same function of a wider type: prints for each its largest error in units
// in the last place, and how often it differs in kind (NaN, an infinity, the sign of a zero).

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <sleef.h>

template <typename Element>
std::vector<Element> arguments() {
  using Limits = std::numeric_limits<Element>;
  const Element inf = Limits::infinity();
  std::vector<Element> all{0, Element(-0.0), 1, -1, inf, -inf, Limits::quiet_NaN(), Limits::max(), Limits::lowest(),
                           Limits::min(), -Limits::min(), Limits::denorm_min(), -Limits::denorm_min(),
                           Limits::min() / 2, -Limits::min() / 2, Limits::epsilon(), Element(0.5), Element(-0.5)};
  std::mt19937_64 random(7);
  std::uniform_real_distribution<Element> near(-1, 1), middle(-20, 20), exponents(-100, 100);
  for (int count = 0; count < 4000; ++count) {
    all.push_back(near(random));
    all.push_back(middle(random));
    all.push_back(exponents(random));
    all.push_back(near(random) * std::exp2(exponents(random)));
  }
  while (all.size() % 16) {
    all.push_back(0);
  }
  return all;
}

template <typename Element>
struct Difference {
  double largest = 0;
  Element where = 0;
  int kinds = 0;

  void add(Element x, Element got, long double wanted) {
    const Element rounded = static_cast<Element>(wanted);
    if (std::isnan(got) != std::isnan(rounded) || (std::isinf(rounded) && std::isinf(got) && got != rounded) ||
        (got == 0 && rounded == 0 && wanted == 0 && std::signbit(got) != std::signbit(rounded))) {
      ++kinds;
      where = x;
    } else if (!std::isnan(rounded) && got != rounded) {
      if (std::isinf(got) || std::isinf(rounded)) {
        // Beside the largest number, an infinity is one unit off.
        got = std::isinf(got) ? std::copysign(std::numeric_limits<Element>::max(), got) : got;
        wanted = std::isinf(rounded) ? std::copysign(std::numeric_limits<Element>::max(), rounded) : wanted;
      }
      const Element size = std::fabs(static_cast<Element>(wanted));
      const Element unit = std::nextafter(size, std::numeric_limits<Element>::infinity()) - size;
      const long double off = std::fabs(static_cast<long double>(got) - wanted);
      const double error = static_cast<double>(off / (std::isinf(unit) ? 1 : unit));
      if (error > largest) {
        largest = error;
        where = x;
      }
    }
  }
};

template <typename Vector, typename Element, typename Wider>
void one(const char* name, Vector (*function)(Vector), Wider (*exact)(Wider)) {
  constexpr unsigned LANES = sizeof(Vector) / sizeof(Element);
  const auto all = arguments<Element>();
  Difference<Element> difference;
  for (size_t start = 0; start < all.size(); start += LANES) {
    Vector x, y;
    std::memcpy(&x, &all[start], sizeof x);
    y = function(x);
    for (unsigned lane = 0; lane < LANES; ++lane) {
      difference.add(x[lane], y[lane], exact(x[lane]));
    }
  }
  std::printf("%s %.3f %d %a\n", name, difference.largest, difference.kinds,
              static_cast<double>(difference.where));
}

template <typename Vector, typename Element, typename Wider>
void two(const char* name, Vector (*function)(Vector, Vector), Wider (*exact)(Wider, Wider)) {
  constexpr unsigned LANES = sizeof(Vector) / sizeof(Element);
  const auto all = arguments<Element>();
  Difference<Element> difference;
  for (size_t shift = 0; shift < 40; ++shift) {
    for (size_t start = 0; start + LANES + shift < all.size(); start += LANES) {
      Vector x, y, z;
      std::memcpy(&x, &all[start], sizeof x);
      std::memcpy(&y, &all[start + shift], sizeof y);
      z = function(x, y);
      for (unsigned lane = 0; lane < LANES; ++lane) {
        difference.add(x[lane], z[lane], exact(x[lane], y[lane]));
      }
    }
  }
  std::printf("%s %.3f %d %a\n", name, difference.largest, difference.kinds,
              static_cast<double>(difference.where));
}

#if defined(__aarch64__)
#define BOTH(count, name, error)                                                                    \
  count<float32x4_t, float, double>(#name "f4" #error, Sleef_##name##f4##error, name);              \
  count<float64x2_t, double, long double>(#name "d2" #error, Sleef_##name##d2##error, name##l);
#else
#define BOTH(count, name, error)                                                                    \
  count<__m256, float, double>(#name "f8" #error, Sleef_##name##f8##error, name);                   \
  count<__m256d, double, long double>(#name "d4" #error, Sleef_##name##d4##error, name##l);
#endif

int main() {
  BOTH(one, acos, _u10) BOTH(one, asin, _u10) BOTH(one, atan, _u10)
  BOTH(one, acosh, _u10) BOTH(one, asinh, _u10) BOTH(one, atanh, _u10)
  BOTH(one, cos, _u10) BOTH(one, sin, _u10) BOTH(one, tan, _u10) BOTH(one, cos, _u35) BOTH(one, sin, _u35)
  BOTH(one, cosh, _u10) BOTH(one, sinh, _u10) BOTH(one, tanh, _u10)
  BOTH(one, exp, _u10) BOTH(one, exp2, _u10) BOTH(one, expm1, _u10)
  BOTH(one, log, _u10) BOTH(one, log2, _u10) BOTH(one, log10, _u10) BOTH(one, log1p, _u10)
  BOTH(one, erf, _u10) BOTH(one, erfc, _u15) BOTH(one, lgamma, _u10)
  BOTH(two, atan2, _u10) BOTH(two, pow, _u10) BOTH(two, hypot, _u05) BOTH(two, fmod, ) BOTH(two, copysign, )
}
