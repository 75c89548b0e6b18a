// The loops over one sample, compiled once for each instruction set: LINFAIR_PATH names the one at hand.
//
// Sums are ordered alike on every path (lanes.h) and products are never contracted with them, so all paths return the
// same bits. Everything but the entry point has internal linkage: an inline function compiled here for AVX-512 must
// never be the one another path is linked to.

#include "lanes.h"
#include "norms.h"
#include "pgd_step.h"

namespace linfair {
namespace {

// Length of scale * d.
template <class Ball, class T, class F> LINFAIR_FN double scaled_length(int64_t dim, double scale, F d) {
    const Vec<T> scales = all<T>(scale);
    const auto term = [&](int64_t i, auto part) { return Terms<Vec<T>, 1>{Ball::magnitude(d(i, part) * scales)}; };
    return Ball::length(total<T, 1>(dim, term).at[0]);
}

// Length of d, whose plain sum of magnitudes is `sum`.
template <class Ball, class T, class F> LINFAIR_FN double length(int64_t dim, double sum, F d) {
    const double scale = safe_scale<T, Ball>(sum);
    return scale == 1 ? Ball::length(sum) : scaled_length<Ball, T>(dim, scale, d) / scale;
}

// One sample. The box is read the same way in both cases: a bound a feature (mask -1), or one lane of equal bounds
// again and again (mask 0).
template <class T> struct Sample {
    const T *x, *x0;
    T* out;
    const T *lo, *hi;
    int64_t bound_mask, dim;
    T eps, step;
    T* scratch;                            // [2 dim]
    uintptr_t next_x, next_x0, next_grad;  // the sample after this one

    // While the search for a level keeps the core busy, memory is idle: it may fetch the next sample.
    LINFAIR_FN void fetch(uintptr_t next, int64_t i) const {
        __builtin_prefetch(reinterpret_cast<const void*>(next + static_cast<uintptr_t>(i) * sizeof(T)));
    }

    template <class P> LINFAIR_FN Vec<T> low(int64_t i, P part) const { return load(lo + (i & bound_mask), part); }
    template <class P> LINFAIR_FN Vec<T> high(int64_t i, P part) const { return load(hi + (i & bound_mask), part); }
};

// --- the step: v = x + step * direction ------------------------------------------------------------------------------

struct Stay {
    template <class V, class P> LINFAIR_FN V operator()(V x, int64_t, P) const { return x; }
};

template <class T, class G> struct Along {
    const G* grad;
    Vec<T> unit, step;
    template <class P> LINFAIR_FN Vec<T> operator()(Vec<T> x, int64_t i, P part) const {
        return x + step * (unit * load(grad + i, part));
    }
};

template <class T, class G> struct Sparse {
    const G* grad;
    typename Limits<T>::Bits threshold;
    Vec<T> step;
    template <class P> LINFAIR_FN Vec<T> operator()(Vec<T> x, int64_t i, P part) const {
        Vec<T> g = load(grad + i, part);
        return magnitude_bits<T>(g) >= threshold ? x + signed_step(g, step) : x;
    }
};

// --- the projection --------------------------------------------------------------------------------------------------

// Tells Newton's method where to go on until it has the root: `evaluate(root)` returns {spent, slope}.
template <class T, class Ball, class F> LINFAIR_FN void search(Ball, Root& root, double eps, F evaluate) {
    for (int pass = 0; pass < kMaxPasses; ++pass) {
        const Terms<double, 2> now = evaluate(root);
        if (!Ball::advance(root, now.at[0], now.at[1], eps, Limits<T>::kUlp)) return;
    }
}

// `out` holds v, outside the ball by `length` (and `spent` once clipped): the level that brings it back.
template <class Level, bool kExact, class T> Level find_level(L2, Sample<T> s, double length, double) {
    Level level;
    Root root = L2::start(s.eps, length);
    if constexpr (kExact) {
        const double unit = L2::unit_of<T>(s.eps);
        const Vec<T> units = all<T>(unit);
        const auto spend = [&](double at) __attribute__((noinline)) {
            set<T>(level, at);
            return total<T, 2>(s.dim, [&](int64_t i, auto part) {
                const Vec<T> x0 = load(s.x0 + i, part);
                const Vec<T> lo = s.low(i, part) - x0, hi = s.high(i, part) - x0;
                return L2::piece(load(s.out + i, part) - x0, level, lo, hi, units);
            });
        };
        const double eps = s.eps * unit;
        const auto first = spend(L2::level(root));
        // Too much at the start: x0 lies outside the box. If it spends all of eps there, the ball misses the box.
        if (first.at[0] > eps * eps && spend(0).at[0] >= eps * eps)
            root.at = 0;
        else if (L2::advance(root, first.at[0], first.at[1], eps, Limits<T>::kUlp))
            search<T>(L2{}, root, eps, [&](const Root& at) { return spend(L2::level(at)); });
    }
    set<T>(level, L2::level(root));
    return level;
}

template <class Level, bool kExact, class T> Level find_level(L1, Sample<T> s, double length, double spent) {
    T *const sizes = s.scratch, *const rooms = s.scratch + s.dim;
    double eps = s.eps;
    Root root = L1::start(eps, length, spent, s.dim);
    Level level;
    set<T>(level, root.at);
    const auto sums = total<T, kExact ? 3 : 2>(s.dim, [&](int64_t i, auto part) {
        const Vec<T> v = load(s.out + i, part), x0 = load(s.x0 + i, part);
        s.fetch(s.next_x, i);
        s.fetch(s.next_x0, i);
        if constexpr (kExact) {
            const auto r = L1::room(v, x0, s.low(i, part), s.high(i, part));
            store(sizes + i, r.size, part);
            store(rooms + i, r.room, part);
            const auto p = L1::piece(r.size, level, r.room);
            return Terms<Vec<T>, 3>{p.at[0], p.at[1], r.floor};
        } else {
            const Vec<T> size = abs_of(v - x0);
            store(sizes + i, size, part);
            return L1::piece(size, level);
        }
    });
    if constexpr (kExact) eps -= sums.at[2];
    if (!(eps > 0))
        root.at = length;  // the ball misses the box, and its centre goes to the nearest point
    else if (L1::advance(root, sums.at[0], sums.at[1], eps, Limits<T>::kUlp))
        search<T>(L1{}, root, eps, [&](const Root& at) {
            set<T>(level, L1::level(at));
            return total<T, 2>(s.dim, [&](int64_t i, auto part) {
                if constexpr (kExact)
                    return L1::piece(load(sizes + i, part), level, load(rooms + i, part));
                else
                    return L1::piece(load(sizes + i, part), level);
            });
        });
    set<T>(level, L1::level(root));
    return level;
}

// Steps with `move`, then projects. Between the two, `out` holds v: a sample is read from memory once and written once.
template <class Ball, bool kExact, class T, class Move> void settle(Sample<T> s, Move move) {
    const auto sums = total<T, kExact ? 2 : 1>(s.dim, [&](int64_t i, auto part) {
        const Vec<T> v = move(load(s.x + i, part), i, part), x0 = load(s.x0 + i, part);
        store(s.out + i, v, part);
        if constexpr (kExact)
            return Terms<Vec<T>, 2>{Ball::magnitude(v - x0),
                                    Ball::magnitude(clip(v, s.low(i, part), s.high(i, part)) - x0)};
        else
            return Terms<Vec<T>, 1>{Ball::magnitude(v - x0)};
    });
    const auto moved = [&](int64_t i, auto part) { return load(s.out + i, part) - load(s.x0 + i, part); };
    const double distance = length<Ball, T>(s.dim, sums.at[0], moved);
    double spent = distance;
    if constexpr (kExact)
        spent = length<Ball, T>(s.dim, sums.at[1], [&](int64_t i, auto part) {
            return clip(load(s.out + i, part), s.low(i, part), s.high(i, part)) - load(s.x0 + i, part);
        });
    const auto write = [&](auto value) {
        sweep<T>(s.dim, [&](int64_t i, auto part) {
            if constexpr (Ball::kSplits) s.fetch(s.next_grad, i);
            store(s.out + i, clip(value(i, part), s.low(i, part), s.high(i, part)), part);
        });
    };
    const auto center = [&](int64_t i, auto part) { return load(s.x0 + i, part); };
    if (!(distance <= DBL_MAX)) {  // a NaN or an infinity somewhere: it must show
        write([&](int64_t, auto) { return all<T>(NAN); });
    } else if (!(s.eps > 0)) {
        write(center);
    } else if (spent <= s.eps) {
        write([&](int64_t i, auto part) { return load(s.out + i, part); });
    } else {
        const auto bring_back = [&](auto level) {
            level = find_level<decltype(level), kExact>(Ball{}, s, distance, spent);
            write([&](int64_t i, auto part) { return center(i, part) + Ball::pull(moved(i, part), level); });
        };
        if constexpr (Ball::kSplits)
            if (distance > kFar * s.eps) return bring_back(Split<Vec<T>>{});
        bring_back(Vec<T>{});
    }
}

template <class Ball, bool kExact, class T, class G> void along_gradient(Sample<T> s, const G* grad) {
    const auto gradient = [&](int64_t i, auto part) { return load(grad + i, part); };
    const auto term = [&](int64_t i, auto part) { return Terms<Vec<T>, 1>{Ball::magnitude(gradient(i, part))}; };
    const double sum = total<T, 1>(s.dim, term).at[0], scale = safe_scale<T, Ball>(sum);
    const double size = scale == 1 ? Ball::length(sum) : scaled_length<Ball, T>(s.dim, scale, gradient);
    const Stride<T> stride = stride_of<T>(s.step, size, scale);
    settle<Ball, kExact>(s, Along<T, G>{grad, all<T>(stride.unit), all<T>(stride.step)});
}

template <bool kExact, class T, class G> void along_top(Sample<T> s, const G* grad, int64_t top_q) {
    using Bits = typename Limits<T>::Bits;
    const auto count = [&](Bits least) {
        const Vec<T> one = all<T>(1), none{};
        const auto sums = total<T, 1>(s.dim, [&](int64_t i, auto part) {
            return Terms<Vec<T>, 1>{magnitude_bits<T>(load(grad + i, part)) >= least ? one : none};
        });
        return static_cast<int64_t>(sums.at[0]);
    };
    const Bits threshold = top_threshold<T>(top_q, count);
    const double moving = static_cast<double>(count(threshold));
    const bool nan = count(Limits<T>::kInfinity + 1) > 0;
    const double step = nan ? NAN : (moving > 0 ? s.step / moving : 0);
    settle<L1, kExact>(s, Sparse<T, G>{grad, threshold, all<T>(step)});
}

template <bool kExact, class T, class G> void in_a_ball(Sample<T> s, const G* grad, const Call& call) {
    const bool l2 = call.norm == Norm::l2;
    if (!grad)
        l2 ? settle<L2, kExact>(s, Stay{}) : settle<L1, kExact>(s, Stay{});
    else if (call.top_q)
        along_top<kExact>(s, grad, call.top_q);
    else
        l2 ? along_gradient<L2, kExact>(s, grad) : along_gradient<L1, kExact>(s, grad);
}

template <class T, class G> void along_sign(Sample<T> s, const G* grad) {
    const Vec<T> eps = all<T>(s.eps), step = all<T>(s.step);
    const auto project = [&](Vec<T> v, int64_t i, auto part) {
        store(s.out + i, Linf::project(v, load(s.x0 + i, part), eps, s.low(i, part), s.high(i, part)), part);
    };
    if (!grad) return sweep<T>(s.dim, [&](int64_t i, auto part) { project(load(s.x + i, part), i, part); });
    sweep<T>(s.dim, [&](int64_t i, auto part) {
        project(load(s.x + i, part) + signed_step(load(grad + i, part), step), i, part);
    });
}

template <class T, class G> void run(const Call& call, int64_t first, int64_t last, void* scratch) {
    alignas(kLaneBytes) T lo[Lane<T>::kWidth], hi[Lane<T>::kWidth];
    for (int64_t j = 0; j < Lane<T>::kWidth; ++j) {
        lo[j] = static_cast<T>(call.lo_value);
        hi[j] = static_cast<T>(call.hi_value);
    }
    const bool per_feature = call.lo != nullptr;
    const auto number = [](const void* each, int64_t i, double value) {
        return each ? static_cast<const T*>(each)[i] : static_cast<T>(value);
    };
    for (int64_t row = first; row < last; ++row) {
        const T* const x = static_cast<const T*>(call.x) + row * call.x_stride;
        const T* const x0 = static_cast<const T*>(call.x0) + row * call.x0_stride;
        const G* const grad = call.grad ? static_cast<const G*>(call.grad) + row * call.grad_stride : nullptr;
        const T step = number(call.step, row * call.step_stride, call.step_value);
        const auto after = [](const auto* sample, int64_t stride) {
            return reinterpret_cast<uintptr_t>(sample) + static_cast<uintptr_t>(stride) * sizeof *sample;
        };
        const Sample<T> sample{
            x,
            x0,
            static_cast<T*>(call.out) + row * call.out_stride,
            per_feature ? static_cast<const T*>(call.lo) : lo,
            per_feature ? static_cast<const T*>(call.hi) : hi,
            per_feature ? -1 : 0,
            call.dim,
            number(call.eps, row * call.eps_stride, call.eps_value),
            call.descend ? -step : step,
            static_cast<T*>(scratch),
            after(x, call.x_stride),
            after(x0, call.x0_stride),
            after(grad, call.grad_stride),
        };
        if (call.norm == Norm::linf)
            along_sign(sample, grad);
        else
            call.exact ? in_a_ball<true>(sample, grad, call) : in_a_ball<false>(sample, grad, call);
    }
}

}  // namespace

#define LINFAIR_JOIN_(a, b) a##b
#define LINFAIR_JOIN(a, b) LINFAIR_JOIN_(a, b)

// rows_default_, rows_avx2 or rows_avx512: samples first .. last - 1 of a call.
void LINFAIR_JOIN(rows_, LINFAIR_PATH)(const Call& call, int64_t first, int64_t last, void* scratch) {
    if (call.type == Type::f64)
        run<double, double>(call, first, last, scratch);
    else if (call.grad_type == Type::bf16)
        run<float, BFloat16>(call, first, last, scratch);
    else
        run<float, float>(call, first, last, scratch);
}

}  // namespace linfair
