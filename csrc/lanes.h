// Vectors of numbers on the host: lanes, their loads and stores, and sums over a sample.
//
// Lanes are as wide as the registers of the instruction set this is compiled for. Sums run over stripes of 128 bytes
// on each, so that all add in one order and return the same bits.

#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "norms.h"

namespace linfair {
namespace {

#if defined(__AVX512F__)
constexpr int kLaneBytes = 64;
#elif defined(__AVX__)
constexpr int kLaneBytes = 32;
#else
constexpr int kLaneBytes = 16;
#endif
constexpr int kLanes = 128 / kLaneBytes;  // summed side by side

template <class T> struct LaneOf {
    typedef T V __attribute__((vector_size(kLaneBytes)));
    typedef typename Limits<T>::Bits B __attribute__((vector_size(kLaneBytes)));
    static constexpr int64_t kWidth = kLaneBytes / sizeof(T);
};

// Of these two only: what is no number has no lane, and overloads that take lanes pass it by.
template <class T> struct Lane;
template <> struct Lane<float> : LaneOf<float> {};
template <> struct Lane<double> : LaneOf<double> {};

template <class T> using Vec = typename Lane<T>::V;

template <class T> LINFAIR_FN typename Lane<T>::B magnitude_bits(Vec<T> v) {
    return (typename Lane<T>::B)v & Limits<T>::kMagnitude;
}
template <> LINFAIR_FN Vec<float> abs_of(Vec<float> v) { return (Vec<float>)magnitude_bits<float>(v); }
template <> LINFAIR_FN Vec<double> abs_of(Vec<double> v) { return (Vec<double>)magnitude_bits<double>(v); }

// Compilers turn the generic max_of and min_of of lanes into a comparison and a blend; these are one instruction with
// the same answers (a where a or b is NaN, a where they are equal).
#if defined(__AVX512F__)
template <> LINFAIR_FN Vec<float> max_of(Vec<float> a, Vec<float> b) { return _mm512_max_ps(b, a); }
template <> LINFAIR_FN Vec<float> min_of(Vec<float> a, Vec<float> b) { return _mm512_min_ps(b, a); }
template <> LINFAIR_FN Vec<double> max_of(Vec<double> a, Vec<double> b) { return _mm512_max_pd(b, a); }
template <> LINFAIR_FN Vec<double> min_of(Vec<double> a, Vec<double> b) { return _mm512_min_pd(b, a); }
#elif defined(__AVX__)
template <> LINFAIR_FN Vec<float> max_of(Vec<float> a, Vec<float> b) { return _mm256_max_ps(b, a); }
template <> LINFAIR_FN Vec<float> min_of(Vec<float> a, Vec<float> b) { return _mm256_min_ps(b, a); }
template <> LINFAIR_FN Vec<double> max_of(Vec<double> a, Vec<double> b) { return _mm256_max_pd(b, a); }
template <> LINFAIR_FN Vec<double> min_of(Vec<double> a, Vec<double> b) { return _mm256_min_pd(b, a); }
#elif defined(__SSE2__)
template <> LINFAIR_FN Vec<float> max_of(Vec<float> a, Vec<float> b) { return _mm_max_ps(b, a); }
template <> LINFAIR_FN Vec<float> min_of(Vec<float> a, Vec<float> b) { return _mm_min_ps(b, a); }
template <> LINFAIR_FN Vec<double> max_of(Vec<double> a, Vec<double> b) { return _mm_max_pd(b, a); }
template <> LINFAIR_FN Vec<double> min_of(Vec<double> a, Vec<double> b) { return _mm_min_pd(b, a); }
#endif

template <class T> LINFAIR_FN Vec<T> all(double value) { return Vec<T>{} + static_cast<T>(value); }

// A whole lane, or the first `count` numbers of one; the rest of a partial lane reads as 0, which adds 0 to every sum.
struct Whole {};
struct Part {
    int64_t count;
};

template <class T> LINFAIR_FN Vec<T> load(const T* from, Whole) {
    Vec<T> v;
    __builtin_memcpy(&v, from, kLaneBytes);
    return v;
}
template <class T> LINFAIR_FN Vec<T> load(const T* from, Part part) {
    Vec<T> v{};
    for (int64_t j = 0; j < part.count; ++j) v[j] = from[j];
    return v;
}

struct BFloat16 {
    uint16_t bits;
};

// The upper half of a float is a bfloat16.
LINFAIR_FN Vec<float> widen(Lane<float>::B bits) { return (Vec<float>)(bits << 16); }
LINFAIR_FN Vec<float> load(const BFloat16* from, Whole) {
    typedef uint16_t Half __attribute__((vector_size(kLaneBytes / 2)));
    Half half;
    __builtin_memcpy(&half, from, sizeof half);
    return widen(__builtin_convertvector(half, Lane<float>::B));
}
LINFAIR_FN Vec<float> load(const BFloat16* from, Part part) {
    Lane<float>::B bits{};
    for (int64_t j = 0; j < part.count; ++j) bits[j] = from[j].bits;
    return widen(bits);
}

template <class T> LINFAIR_FN void store(T* to, Vec<T> v, Whole) { __builtin_memcpy(to, &v, kLaneBytes); }
template <class T> LINFAIR_FN void store(T* to, Vec<T> v, Part part) {
    for (int64_t j = 0; j < part.count; ++j) to[j] = v[j];
}

template <class T, class Body> LINFAIR_FN void sweep(int64_t dim, Body body) {
    constexpr int64_t kWidth = Lane<T>::kWidth;
    int64_t i = 0;
    for (; i + kWidth <= dim; i += kWidth) body(i, Whole{});
    if (i < dim) body(i, Part{dim - i});
}

// Sum of a stripe by halves: the same tree on every path.
template <int kCount, class T> LINFAIR_FN T fold(const T (&terms)[kCount]) {
    if constexpr (kCount == 1) {
        return terms[0];
    } else {
        T halves[kCount / 2];
#pragma GCC unroll 16
        for (int j = 0; j < kCount / 2; ++j) halves[j] = terms[j] + terms[j + kCount / 2];
        return fold(halves);
    }
}

template <class T, int K> struct Stripe {
    Vec<T> sum[K][kLanes]{};
    LINFAIR_FN void add(int lane, const Terms<Vec<T>, K>& terms) {
        for (int k = 0; k < K; ++k) sum[k][lane] += terms.at[k];
    }
    LINFAIR_FN void empty(Terms<double, K>& into) const {
        for (int k = 0; k < K; ++k) {
            T terms[kLanes * Lane<T>::kWidth];
            __builtin_memcpy(terms, sum[k], sizeof terms);
            into.at[k] += fold(terms);
        }
    }
};

// K sums over a sample of what `terms(i, part)` returns. The lanes of a stripe are independent, which hides the latency
// of additions; every kChunk elements they are emptied into doubles, so that rounding does not grow with an image.
template <class T, int K, class F> LINFAIR_FN Terms<double, K> total(int64_t dim, F terms) {
    constexpr int64_t kWidth = Lane<T>::kWidth, kStripe = kLanes * kWidth, kChunk = 256 * kStripe;
    Terms<double, K> sums{};
    int64_t i = 0;
    while (i + kStripe <= dim) {
        const int64_t last = dim - i < kChunk ? dim - kStripe : i + kChunk - kStripe;
        Stripe<T, K> stripe;
        for (; i <= last; i += kStripe)
#pragma GCC unroll 8
            for (int lane = 0; lane < kLanes; ++lane) stripe.add(lane, terms(i + lane * kWidth, Whole{}));
        stripe.empty(sums);
    }
    if (i < dim) {
        Stripe<T, K> rest;
#pragma GCC unroll 1
        for (int lane = 0; i < dim; ++lane, i += kWidth)
            rest.add(lane, terms(i, Part{dim - i < kWidth ? dim - i : kWidth}));
        rest.empty(sums);
    }
    return sums;
}

}  // namespace
}  // namespace linfair
