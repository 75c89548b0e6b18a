// The arithmetic of the PGD step and of the projections, shared by the CPU path and the CUDA kernels.
//
// Everything here acts on a lane V: one number on the device, a vector of numbers on the host. Comparisons of lanes
// give masks, and `mask ? a : b` picks number by number in both cases. Comparisons are written so that a NaN survives.
//
// With d = v - x0 and the box [lo, hi], every projection has the form z = clip(x0 + pull(d, level), lo, hi):
//
//   l2   pull(d, t)   = t d                             t   = eps / ||d||_2      or  sum_i (z_i - x0_i)^2 = eps^2
//   l1   pull(d, tau) = sign(d) max(|d| - tau, 0)       tau:  sum_i |pull_i| = eps   or  sum_i |z_i - x0_i|  = eps
//
// where the second equation is the exact projection onto ball and box: clipping commutes with the coordinate-wise
// minimisation of the Lagrangian, so only the level differs. Each equation is piecewise linear in t^2 or tau, and
// Newton's method inside a bracket ends on the piece that holds the root.

#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define LINFAIR_FN __host__ __device__ __forceinline__
#else
#define LINFAIR_FN inline __attribute__((always_inline))
#endif

namespace linfair {
namespace {  // internal linkage: each instruction set keeps code of its own

template <class T> struct Limits;

template <> struct Limits<float> {
    using Bits = uint32_t;
    static constexpr int kMagnitudeBits = 31, kMaxExponent = 127;
    static constexpr Bits kMagnitude = 0x7fffffffu, kInfinity = 0x7f800000u;
    static constexpr double kUlp = FLT_EPSILON, kMax = FLT_MAX;
    static constexpr double kTiny = FLT_MIN / FLT_EPSILON / FLT_EPSILON;
    static constexpr double kScale = 0x1p100;
};

template <> struct Limits<double> {
    using Bits = uint64_t;
    static constexpr int kMagnitudeBits = 63, kMaxExponent = 1023;
    static constexpr Bits kMagnitude = 0x7fffffffffffffffu, kInfinity = 0x7ff0000000000000u;
    static constexpr double kUlp = DBL_EPSILON, kMax = DBL_MAX;
    static constexpr double kTiny = DBL_MIN / DBL_EPSILON / DBL_EPSILON;
    static constexpr double kScale = 0x1p600;
};

// Outside [kTiny, Ball::kMost] a sum of magnitudes may have lost terms to underflow or overflow, or its length is too
// far from 1 to be divided by. It is taken again over d times this power of two: exact, and far from both ends.
template <class T, class Ball> LINFAIR_FN double safe_scale(double sum) {
    return sum < Limits<T>::kTiny ? Limits<T>::kScale : sum <= Ball::template kMost<T> ? 1.0 : 1.0 / Limits<T>::kScale;
}

// step / ||g|| as two factors: v = x + step * (unit * g). Their product may leave the range of T where neither the step
// nor the gradient does; a power of two near 1 / ||g|| costs no rounding. `size` is the length of scale * g.
template <class T> struct Stride {
    T unit, step;
};
template <class T> LINFAIR_FN Stride<T> stride_of(double step, double size, double scale) {
    if (size == 0) return {1, 0};
    if (!(size <= DBL_MAX)) return {1, static_cast<T>(NAN)};
    const int shift = ilogb(scale), most = Limits<T>::kMaxExponent, wanted = shift - ilogb(size);
    const int power = wanted > most ? most : wanted < 1 - most ? 1 - most : wanted;
    return {static_cast<T>(ldexp(1.0, power)), static_cast<T>(step / ldexp(size, power - shift))};
}

template <class V> LINFAIR_FN V max_of(V a, V b) { return a < b ? b : a; }
template <class V> LINFAIR_FN V min_of(V a, V b) { return b < a ? b : a; }
template <class V> LINFAIR_FN V clip(V v, V lo, V hi) { return min_of(max_of(v, lo), hi); }
template <class V> LINFAIR_FN V abs_of(V v) { return v < V{} ? -v : v; }

// step * sign(g), with sign(0) = 0 and sign(NaN) = NaN.
template <class V> LINFAIR_FN V signed_step(V g, V step) { return g > V{} ? step : (g < V{} ? -step : g); }

struct Linf {
    // min(max(v, x0 - eps), x0 + eps), then the box. Bounds that are NaN would let v through: return the NaN.
    template <class V> static LINFAIR_FN V project(V v, V x0, V eps, V lo, V hi) {
        const V low = x0 - eps, high = x0 + eps, y = clip(clip(v, low, high), lo, hi);
        return low <= high ? y : low + high;
    }
};

// K numbers or lanes that are summed together.
template <class V, int K> struct Terms {
    V at[K];
};
// How much of the budget z - x0 spends at a level, and how fast that changes (l2: how much of it is not clipped).
template <class V> using Piece = Terms<V, 2>;

// Root of an increasing piecewise linear function by Newton's method. Where the function is not convex Newton may leave
// the bracket, or jump to and fro across the root: then bisection takes over.
struct Root {
    double at, low, high;
    double value, slope;  // of the last pass

    // Moves on from the value f and the slope at `at`; false once the root is found to rounding. A slope met twice
    // means that both points lie on one piece: what is left of f is then the rounding of the sums, which more passes do
    // not mend.
    LINFAIR_FN bool advance(double f, double slope_here, double scale, double ulp) {
        (f > 0 ? high : low) = at;
        const double error = fabs(f) / scale, next = at - f / slope_here;  // infinite for a slope of 0
        const bool same_piece = slope > 0 && fabs(slope_here - slope) <= 16 * ulp * slope;
        const bool found = error <= 4 * ulp || next == at || (same_piece && error <= 64 * ulp);
        const bool bounced = f * value < 0 && 2 * fabs(f) > fabs(value);
        const bool newton = next > low && next < high && !bounced;
        value = f, slope = slope_here;
        if (newton)
            at = next;
        else if (!found)
            at = low + (high - low) / 2;
        return !found && high - low > DBL_EPSILON * at;
    }
};

// A level in one float, or in two (a double has no second part). The k coordinates that tau moves spend at most
// k tau <= ||d||_1 times the rounding of tau too much or too little: nothing beside eps after a step of PGD, but much
// where v lies many radii away.
template <class V> struct Split {
    V high, low;
};
template <class T, class V> LINFAIR_FN void set(V& level, double value) { level = V{} + static_cast<T>(value); }
template <class T, class V> LINFAIR_FN void set(Split<V>& level, double value) {
    set<T>(level.high, value);
    set<T>(level.low, value - static_cast<T>(value));
}
constexpr double kFar = 8;  // radii from which a level is split

constexpr int kMaxPasses = 128;  // Newton takes 2 to 10, dozens where boxes differ much; bisection alone takes 60

struct L2 {
    static constexpr bool kSplits = false;
    template <class T> static constexpr double kMost = Limits<T>::kMax;

    template <class V> static LINFAIR_FN V magnitude(V d) { return d * d; }
    static LINFAIR_FN double length(double sum) { return sqrt(sum); }
    template <class V> static LINFAIR_FN V pull(V d, V t) { return t * d; }

    // The search runs in t^2, in which the spent budget sum min(t^2 d_i^2, bound_i^2) is concave: from the answer of
    // the ball alone Newton climbs to the root without overshooting.
    static LINFAIR_FN Root start(double eps, double length) {
        double t = eps / length;
        return {t * t, 0, 1, 0, 0};
    }
    static LINFAIR_FN double level(const Root& root) { return sqrt(root.at); }
    // What the free coordinates spend is proportional to t^2: so is their share of the slope.
    static LINFAIR_FN bool advance(Root& root, double spent, double free_spent, double eps, double ulp) {
        return root.advance(spent - eps * eps, free_spent / root.at, eps * eps, ulp);
    }
    // In units of about eps, as `unit` = unit_of(eps) makes them: no square of a tiny or a huge budget is lost.
    template <class T> static LINFAIR_FN double unit_of(double eps) {
        const double most = Limits<T>::kMax / 4;
        return 1 < most * eps ? 1 / eps : most;
    }
    template <class V> static LINFAIR_FN Piece<V> piece(V d, V t, V lo, V hi, V unit) {
        const V free = t * d, kept = clip(free, lo, hi), spent = unit * kept;
        return {spent * spent, kept == free ? spent * spent : V{}};
    }
};

struct L1 {
    static constexpr bool kSplits = true;
    template <class T> static constexpr double kMost = 1 / Limits<T>::kTiny;

    template <class V> static LINFAIR_FN V magnitude(V d) { return abs_of(d); }
    static LINFAIR_FN double length(double sum) { return sum; }
    template <class V> static LINFAIR_FN V above(V size, V tau) { return size - tau; }
    template <class V> static LINFAIR_FN V above(V size, Split<V> tau) { return (size - tau.high) - tau.low; }
    template <class V, class Tau> static LINFAIR_FN V pull(V d, Tau tau) {
        const V over = above(abs_of(d), tau);
        return over > V{} ? (d < V{} ? -over : over) : V{};
    }

    // Newton may start anywhere in [0, length]. If all sizes were larger than tau it would be excess / dim, for sizes
    // that are exponentially distributed mean ln(spent / eps); half way between it is right to a few per cent for
    // uniform and for Gaussian ones.
    static LINFAIR_FN Root start(double eps, double length, double spent, int64_t dim) {
        const double mean = spent / static_cast<double>(dim), share = eps / spent;
        const double guess = mean * (1 - share - log(share)) / 2;
        return {guess < length ? guess : mean * (1 - share), 0, length, 0, 0};
    }

    static LINFAIR_FN double level(const Root& root) { return root.at; }
    static LINFAIR_FN bool advance(Root& root, double spent, double slope, double eps, double ulp) {
        return root.advance(eps - spent, slope, eps, ulp);
    }

    // |z - x0| = floor + min(max(size - tau, 0), room): how far x0 lies outside the box (0 as a rule), and what else
    // the coordinate may spend.
    template <class V> struct Room {
        V size, room, floor;
    };
    template <class V> static LINFAIR_FN Room<V> room(V v, V x0, V lo, V hi) {
        const V floor = abs_of(clip(x0, lo, hi) - x0);
        return {abs_of(v - x0) - floor, abs_of(clip(v, lo, hi) - x0) - floor, floor};
    }
    template <class V, class Tau> static LINFAIR_FN Piece<V> piece(V size, Tau tau, V room) {
        const V none{}, over = above(size, tau), kept = min_of(max_of(over, none), room);
        return {kept, kept == over ? none + 1 : none};
    }
    template <class V, class Tau> static LINFAIR_FN Piece<V> piece(V size, Tau tau) {
        const V none{}, over = above(size, tau);
        return {max_of(over, none), over > none ? none + 1 : none};
    }
};

// Bit pattern of the q-th largest magnitude, found from the top bit down: patterns of non-negative numbers sort as
// the numbers do. `count(b)` says how many magnitudes have a pattern >= b. At least 1, so that zeros never qualify.
template <class T, class Count> LINFAIR_FN typename Limits<T>::Bits top_threshold(int64_t q, Count count) {
    using Bits = typename Limits<T>::Bits;
    Bits found = 0;
    for (int bit = Limits<T>::kMagnitudeBits - 1; bit >= 0; --bit) {
        Bits candidate = found | (Bits{1} << bit);
        const int64_t at_least = count(candidate);
        if (at_least >= q) found = candidate;
        if (at_least == q) break;  // the lower bits would change the threshold, not who passes it
    }
    return found ? found : 1;
}

}  // namespace
}  // namespace linfair
