// Sleef's functions of whole vectors, as code that Inductor compiles calls them: by glibc's libmvec, which has most of
// them within 4 units in the last place, or by the scalar function of each lane.

#include <cmath>
#include <features.h>

// What declares them to the compiled code, too.
#include <sleef.h>

#pragma GCC visibility push(default)

// Sleef's ending -> vector, element, and libmvec's names for it: prefix for one argument, for two, ending.
#if defined(__AVX512F__)
#define WIDEST(each) each(f16, __m512, float, _ZGVeN16v_, _ZGVeN16vv_, f) each(d8, __m512d, double, _ZGVeN8v_, _ZGVeN8vv_, )
#else
#define WIDEST(each)
#endif
#if defined(__AVX2__)
#define WIDE(each) each(f8, __m256, float, _ZGVdN8v_, _ZGVdN8vv_, f) each(d4, __m256d, double, _ZGVdN4v_, _ZGVdN4vv_, )
#elif defined(__aarch64__)
#define WIDE(each) each(f4, float32x4_t, float, _ZGVnN4v_, _ZGVnN4vv_, f) each(d2, float64x2_t, double, _ZGVnN2v_, _ZGVnN2vv_, )
#else
#define WIDE(each)
#endif
#define EVERY_WIDTH(each) WIDE(each) WIDEST(each)

// All of them since glibc 2.35 on x86, and never on another CPU by these names.
#if defined(__x86_64__) && __GLIBC_PREREQ(2, 35)
#define ONE(ending, vector, element, by_one, by_two, letter, name, error) \
  extern "C" vector by_one##name##letter(vector);                          \
  extern "C" vector Sleef_##name##ending##_##error(vector x) { return by_one##name##letter(x); }
#define TWO(ending, vector, element, by_one, by_two, letter, name, error) \
  extern "C" vector by_two##name##letter(vector, vector);                  \
  extern "C" vector Sleef_##name##ending##_##error(vector x, vector y) { return by_two##name##letter(x, y); }
#else
#define ONE(ending, vector, element, by_one, by_two, letter, name, error) \
  extern "C" vector Sleef_##name##ending##_##error(vector x) { return each_lane<vector, element>(x, std::name); }
#define TWO(ending, vector, element, by_one, by_two, letter, name, error) \
  extern "C" vector Sleef_##name##ending##_##error(vector x, vector y) { return each_lane<vector, element>(x, y, std::name); }
#endif

namespace {

template <typename Vector, typename Element>
Vector each_lane(Vector x, Element (*function)(Element)) {
  for (unsigned lane = 0; lane < sizeof(Vector) / sizeof(Element); ++lane) {
    x[lane] = function(x[lane]);
  }
  return x;
}

template <typename Vector, typename Element>
Vector each_lane(Vector x, Vector y, Element (*function)(Element, Element)) {
  for (unsigned lane = 0; lane < sizeof(Vector) / sizeof(Element); ++lane) {
    x[lane] = function(x[lane], y[lane]);
  }
  return x;
}

// std::lgamma writes the global `signgam`, which other threads would write too.
float log_gamma(float x) { int sign = 0; return lgammaf_r(x, &sign); }
double log_gamma(double x) { int sign = 0; return lgamma_r(x, &sign); }

}  // namespace

#define LANES(ending, vector, element, by_one, by_two, letter)                                                \
  extern "C" vector Sleef_lgamma##ending##_u10(vector x) { return each_lane<vector, element>(x, log_gamma); } \
  extern "C" vector Sleef_fmod##ending(vector x, vector y) { return each_lane<vector, element>(x, y, std::fmod); } \
  extern "C" vector Sleef_nextafter##ending(vector x, vector y) { return each_lane<vector, element>(x, y, std::nextafter); } \
  extern "C" vector Sleef_copysign##ending(vector x, vector y) { return each_lane<vector, element>(x, y, std::copysign); }

#define FUNCTIONS(...)                                                                             \
  ONE(__VA_ARGS__, acos, u10) ONE(__VA_ARGS__, asin, u10) ONE(__VA_ARGS__, atan, u10)              \
  ONE(__VA_ARGS__, acosh, u10) ONE(__VA_ARGS__, asinh, u10) ONE(__VA_ARGS__, atanh, u10)           \
  ONE(__VA_ARGS__, cos, u10) ONE(__VA_ARGS__, sin, u10) ONE(__VA_ARGS__, tan, u10)                 \
  ONE(__VA_ARGS__, cosh, u10) ONE(__VA_ARGS__, sinh, u10) ONE(__VA_ARGS__, tanh, u10)              \
  ONE(__VA_ARGS__, exp, u10) ONE(__VA_ARGS__, exp2, u10) ONE(__VA_ARGS__, expm1, u10)              \
  ONE(__VA_ARGS__, log, u10) ONE(__VA_ARGS__, log2, u10) ONE(__VA_ARGS__, log10, u10)              \
  ONE(__VA_ARGS__, log1p, u10) ONE(__VA_ARGS__, erf, u10) ONE(__VA_ARGS__, erfc, u15)              \
  ONE(__VA_ARGS__, cos, u35) ONE(__VA_ARGS__, sin, u35)                                            \
  TWO(__VA_ARGS__, atan2, u10) TWO(__VA_ARGS__, pow, u10) TWO(__VA_ARGS__, hypot, u05)             \
  LANES(__VA_ARGS__)

EVERY_WIDTH(FUNCTIONS)
