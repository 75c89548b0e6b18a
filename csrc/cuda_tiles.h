// What the CUDA kernels are made of: a sample's rows, the threads that share a sample, and where they keep it.

#pragma once

#include <cuda_runtime.h>

#include "norms.h"
#include "pgd_step.h"

namespace linfair {
namespace {

#define LINFAIR_DEVICE __device__ __forceinline__

constexpr int kWarp = 32, kMaxThreads = 768;
constexpr int kAccess = 16;  // bytes: the widest load and store
constexpr unsigned kAllLanes = 0xffffffffu;

struct BFloat16 {
    uint16_t bits;
};

LINFAIR_DEVICE float number(float value) { return value; }
LINFAIR_DEVICE double number(double value) { return value; }
LINFAIR_DEVICE float number(BFloat16 value) { return __uint_as_float(uint32_t{value.bits} << 16); }

LINFAIR_DEVICE uint32_t magnitude_bits(float value) { return __float_as_uint(value) & Limits<float>::kMagnitude; }
LINFAIR_DEVICE uint64_t magnitude_bits(double value) {
    return static_cast<uint64_t>(__double_as_longlong(value)) & Limits<double>::kMagnitude;
}

// Neighbours that one instruction moves.
template <class S, int kWidth> struct alignas(kWidth * sizeof(S)) Pack {
    S at[kWidth];
};
template <int kWidth, class S> LINFAIR_DEVICE Pack<S, kWidth> load(const S* from) {
    return *reinterpret_cast<const Pack<S, kWidth>*>(from);
}
template <int kWidth, class S> LINFAIR_DEVICE void store(S* to, const Pack<S, kWidth>& pack) {
    *reinterpret_cast<Pack<S, kWidth>*>(to) = pack;
}

// One sample. What is loaded here is looked at later: a thread asks for all it needs before it waits for any of it.
template <class T> struct Row {
    const T *x, *x0;
    const void* grad;  // of type T, or bf16
    T* out;
    const T *lo, *hi;
    T lo_value, hi_value;
    int64_t dim;
    bool bf16, descend;
    T raw_eps, raw_step;

    LINFAIR_DEVICE Row(const Call& call, int64_t row)
        : x(static_cast<const T*>(call.x) + row * call.x_stride),
          x0(static_cast<const T*>(call.x0) + row * call.x0_stride),
          grad(call.grad),
          out(static_cast<T*>(call.out) + row * call.out_stride),
          lo(static_cast<const T*>(call.lo)),
          hi(static_cast<const T*>(call.hi)),
          lo_value(static_cast<T>(call.lo_value)),
          hi_value(static_cast<T>(call.hi_value)),
          dim(call.dim),
          bf16(call.grad_type == Type::bf16),
          descend(call.descend),
          raw_eps(number_of(call.eps, row * call.eps_stride, call.eps_value)),
          raw_step(number_of(call.step, row * call.step_stride, call.step_value)) {
        if (grad)
            grad = static_cast<const char*>(grad) + row * call.grad_stride * (bf16 ? sizeof(BFloat16) : sizeof(T));
    }
    static LINFAIR_DEVICE T number_of(const void* each, int64_t i, double value) {
        return each ? static_cast<const T*>(each)[i] : static_cast<T>(value);
    }
    LINFAIR_DEVICE T eps() const { return raw_eps > 0 ? raw_eps : 0; }  // nothing else checks values on the device
    LINFAIR_DEVICE T step() const { return descend ? -raw_step : raw_step; }
};

// --- teams: the threads that share a sample --------------------------------------------------------------------------

template <class A, class B, int K> LINFAIR_DEVICE void add(Terms<A, K>& sums, const Terms<B, K>& terms) {
#pragma unroll
    for (int k = 0; k < K; ++k) sums.at[k] += terms.at[k];
}

struct Warp {
    static constexpr bool kOneJudge = false;

    template <class V, int K> static LINFAIR_DEVICE Terms<V, K> sum(Terms<V, K> sums) {
#pragma unroll
        for (int distance = kWarp / 2; distance > 0; distance /= 2)
#pragma unroll
            for (int k = 0; k < K; ++k) sums.at[k] += __shfl_xor_sync(kAllLanes, sums.at[k], distance);
        return sums;
    }

    // Adds up what the threads bring, and tells each of them what `judge` makes of it.
    template <class V, int K, class Judge> static LINFAIR_DEVICE auto agree(const Terms<V, K>& sums, Judge judge) {
        return judge(sum(sums));
    }
};

struct Block {
    static constexpr bool kOneJudge = true;

    // One thread judges: most GPUs are slow in double precision, and what only it follows can be in shared memory.
    template <class V, int K, class Judge> static LINFAIR_DEVICE auto agree(const Terms<V, K>& sums, Judge judge) {
        __shared__ Terms<V, K> parts[kMaxThreads / kWarp];
        __shared__ decltype(judge(sums)) verdict;
        const int warps = blockDim.x / kWarp, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
        const Terms<V, K> part = Warp::sum(sums);
        if (lane == 0) parts[warp] = part;
        __syncthreads();
        if (warp == 0) {
            const Terms<V, K> all = Warp::sum(lane < warps ? parts[lane] : Terms<V, K>{});
            if (lane == 0) verdict = judge(all);
        }
        __syncthreads();
        return verdict;
    }
};

// --- tiles: where a team keeps its sample ----------------------------------------------------------------------------

// Element k of pack `slot` of this thread; `first` is the index of element 0.
struct Place {
    int64_t first;
    int slot, k;
};

// In registers: kPacks packs of kPackWidth neighbours a thread. v takes the place of x.
template <class T, class TeamOfTile, int kPacks, int kPackWidth> struct Resident {
    using Team = TeamOfTile;
    using Value = T;
    using Sum = T;
    static constexpr int kWidth = kPackWidth, kPerThread = kPacks * kPackWidth;

    const Row<T> row;
    Pack<T, kWidth> v_[kPacks], x0_[kPacks], grad_[kPacks];

    LINFAIR_DEVICE Resident(const Call& call, int64_t index) : row(call, index) {
        each([&](Place at) {
            v_[at.slot] = load<kWidth>(row.x + at.first);
            x0_[at.slot] = load<kWidth>(row.x0 + at.first);
        });
        if (row.grad) row.bf16 ? load_grad<BFloat16>() : load_grad<T>();
    }
    template <class G> LINFAIR_DEVICE void load_grad() {
        each([&](Place at) {
            const auto grad = load<kWidth>(static_cast<const G*>(row.grad) + at.first);
#pragma unroll
            for (at.k = 0; at.k < kWidth; ++at.k) grad_[at.slot].at[at.k] = number(grad.at[at.k]);
        });
    }

    template <class Body> LINFAIR_DEVICE void each(Body body) const {
        const int dim = static_cast<int>(row.dim);
#pragma unroll
        for (int slot = 0; slot < kPacks; ++slot) {
            const int first = (slot * blockDim.x + threadIdx.x) * kWidth;
            if (first < dim) body(Place{first, slot, 0});
        }
    }

    LINFAIR_DEVICE T x(Place at) const { return v_[at.slot].at[at.k]; }
    LINFAIR_DEVICE T v(Place at) const { return v_[at.slot].at[at.k]; }
    LINFAIR_DEVICE T x0(Place at) const { return x0_[at.slot].at[at.k]; }
    LINFAIR_DEVICE T grad(Place at) const { return grad_[at.slot].at[at.k]; }
    LINFAIR_DEVICE T lo(Place at) const { return row.lo ? row.lo[at.first + at.k] : row.lo_value; }
    LINFAIR_DEVICE T hi(Place at) const { return row.lo ? row.hi[at.first + at.k] : row.hi_value; }
    LINFAIR_DEVICE void keep(Place at, const Pack<T, kWidth>& v) { v_[at.slot] = v; }
    LINFAIR_DEVICE void write(Place at, const Pack<T, kWidth>& z) { store(row.out + at.first, z); }
};

// In memory: v is kept in `out`, and each pass reads it again. A pack is spread over the block, so that neighbouring
// threads read neighbouring elements whatever the alignment; beyond the sample it reads 0, which adds 0 to every sum.
template <class T> struct Streaming {
    using Team = Block;
    using Value = T;
    using Sum = double;
    static constexpr int kWidth = 4;

    const Row<T> row;
    bool moved = false;

    LINFAIR_DEVICE Streaming(const Call& call, int64_t index) : row(call, index) {}

    template <class Body> LINFAIR_DEVICE void each(Body body) const {
        for (int64_t i = threadIdx.x; i < row.dim; i += kWidth * blockDim.x) body(Place{i, 0, 0});
    }
    LINFAIR_DEVICE int64_t index(Place at) const { return at.first + at.k * blockDim.x; }
    template <class S> LINFAIR_DEVICE S read(const S* from, Place at, S beyond = S{}) const {
        return index(at) < row.dim ? from[index(at)] : beyond;
    }

    LINFAIR_DEVICE T x(Place at) const { return read(row.x, at); }
    LINFAIR_DEVICE T v(Place at) const { return read<T>(moved ? row.out : row.x, at); }
    LINFAIR_DEVICE T x0(Place at) const { return read(row.x0, at); }
    LINFAIR_DEVICE T grad(Place at) const {
        if (row.bf16) return number(read(static_cast<const BFloat16*>(row.grad), at));
        return read(static_cast<const T*>(row.grad), at);
    }
    LINFAIR_DEVICE T lo(Place at) const { return row.lo ? read(row.lo, at) : index(at) < row.dim ? row.lo_value : 0; }
    LINFAIR_DEVICE T hi(Place at) const { return row.lo ? read(row.hi, at) : index(at) < row.dim ? row.hi_value : 0; }
    LINFAIR_DEVICE void keep(Place at, const Pack<T, kWidth>& v) { moved = true, write(at, v); }
    LINFAIR_DEVICE void write(Place at, const Pack<T, kWidth>& z) {
#pragma unroll
        for (at.k = 0; at.k < kWidth; ++at.k)
            if (index(at) < row.dim) row.out[index(at)] = z.at[at.k];
    }
};

template <class V> constexpr int kCount = 0;
template <class V, int K> constexpr int kCount<Terms<V, K>> = K;

// What `judge` makes of sums over a sample, whose terms `terms(at)` returns. A pack is added up in the type of x, the
// packs in Tile::Sum.
template <class Tile, class F, class Judge> LINFAIR_DEVICE auto total(const Tile& tile, F terms, Judge judge) {
    using Part = decltype(terms(Place{}));
    Terms<typename Tile::Sum, kCount<Part>> sums{};
    tile.each([&](Place at) {
        Part part{};
#pragma unroll
        for (at.k = 0; at.k < Tile::kWidth; ++at.k) add(part, terms(at));
        add(sums, part);
    });
    return Tile::Team::agree(sums, judge);
}

template <class Tile, class Next, class Put> LINFAIR_DEVICE void rewrite(Tile& tile, Next next, Put put) {
    tile.each([&](Place at) {
        Pack<typename Tile::Value, Tile::kWidth> pack;
#pragma unroll
        for (at.k = 0; at.k < Tile::kWidth; ++at.k) pack.at[at.k] = next(at);
        at.k = 0;
        put(at, pack);
    });
}

template <class Tile, class Next> LINFAIR_DEVICE void move(Tile& tile, Next next) {
    rewrite(tile, next, [&](Place at, const auto& v) { tile.keep(at, v); });
}

}  // namespace
}  // namespace linfair
