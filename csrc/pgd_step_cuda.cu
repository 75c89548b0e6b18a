// The PGD step on CUDA: the algorithm of pgd_step_leaf.cpp with threads for lanes, each sample read once where it fits.
//
// l_inf is elementwise. For l2 and l1 a team of threads shares a sample: a warp up to 128 features; a block that holds
// it in registers up to 9,216 floats; for all else, or what is not aligned to 16 bytes, a block that keeps v in `out`
// and reads it again in each pass. No kernel synchronises with the host or allocates: a CUDA graph captures any call.
//
// `out` may be x or grad: a thread reads an element of those before it writes that element, and no thread reads
// another's.

#include <algorithm>
#include <string>
#include <type_traits>

#include "cuda_device.h"
#include "cuda_tiles.h"

namespace linfair {
namespace {

// --- l_inf -----------------------------------------------------------------------------------------------------------

constexpr int kLinfThreads = 256;

// One pack a thread, counted over the whole batch.
template <class T, class G, int kWidth> __global__ void __launch_bounds__(kLinfThreads) linf_kernel(const Call call) {
    const int64_t pack = static_cast<int64_t>(blockIdx.x) * kLinfThreads + threadIdx.x, packs = call.dim / kWidth;
    const int64_t sample = pack / packs, i = pack % packs * kWidth;
    if (sample >= call.n) return;
    const Row<T> row(call, sample);
    Pack<T, kWidth> x = load<kWidth>(row.x + i), x0 = load<kWidth>(row.x0 + i), lo, hi;
    Pack<G, kWidth> grad{};
    if (row.grad) grad = load<kWidth>(static_cast<const G*>(row.grad) + i);
    if (row.lo) lo = load<kWidth>(row.lo + i), hi = load<kWidth>(row.hi + i);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
        const T v = row.grad ? x.at[k] + signed_step(T(number(grad.at[k])), row.step()) : x.at[k];
        const T least = row.lo ? lo.at[k] : row.lo_value, most = row.lo ? hi.at[k] : row.hi_value;
        x.at[k] = Linf::project(v, x0.at[k], row.eps(), least, most);
    }
    store(row.out + i, x);
}

// --- the step: v = x + step * direction ------------------------------------------------------------------------------

template <class Ball, class Tile> LINFAIR_DEVICE void along_gradient(Tile& tile) {
    using T = typename Tile::Value;
    struct Search {
        Stride<T> stride;
        T scale;
        bool done;
    };
    const T step = tile.row.step();
    Search search{{}, 1, false};
    while (!search.done) {
        const T scale = search.scale;
        search = total(
            tile, [&](Place at) { return Terms<T, 1>{Ball::magnitude(scale * tile.grad(at))}; },
            [&](const auto& sums) -> Search {
                const double sum = sums.at[0], safe = scale == 1 ? safe_scale<T, Ball>(sum) : 1;
                if (safe != 1) return {{}, static_cast<T>(safe), false};
                return {stride_of<T>(step, Ball::length(sum), scale), scale, true};
            });
    }
    const Stride<T> stride = search.stride;
    move(tile, [&](Place at) { return tile.x(at) + stride.step * (stride.unit * tile.grad(at)); });
}

template <class Tile> LINFAIR_DEVICE void along_top(Tile& tile, int64_t top_q) {
    using T = typename Tile::Value;
    using Bits = typename Limits<T>::Bits;
    const auto count = [&](Bits least) {
        return total(
            tile, [&](Place at) { return Terms<T, 1>{magnitude_bits(tile.grad(at)) >= least ? T(1) : T(0)}; },
            [](const auto& sums) { return static_cast<int64_t>(sums.at[0]); });
    };
    const Bits threshold = top_threshold<T>(top_q, count);
    const int64_t moving = count(threshold);
    const bool nan = count(Limits<T>::kInfinity + 1) > 0;
    const T step = nan ? T(NAN) : moving > 0 ? static_cast<T>(tile.row.step() / static_cast<double>(moving)) : T(0);
    move(tile, [&](Place at) {
        const T g = tile.grad(at);
        return magnitude_bits(g) >= threshold ? tile.x(at) + signed_step(g, step) : tile.x(at);
    });
}

// --- the projection --------------------------------------------------------------------------------------------------

enum class Fate { unclear, lost, centred, inside, outside };

// What a coordinate spends at a level, and the slope, in ball and box and in units of 1 / unit.
template <class T> LINFAIR_DEVICE Piece<T> piece(L2, T v, T x0, T level, T lo, T hi, T unit) {
    return L2::piece(v - x0, level, lo - x0, hi - x0, unit);
}
template <class T> LINFAIR_DEVICE Piece<T> piece(L1, T v, T x0, Split<T> level, T lo, T hi, T) {
    const auto room = L1::room(v, x0, lo, hi);
    const Piece<T> more = L1::piece(room.size, level, room.room);
    return {room.floor + more.at[0], more.at[1]};
}

template <class Ball, bool kExact, class Tile> LINFAIR_DEVICE void settle(Tile& tile) {
    using T = typename Tile::Value;
    using Level = std::conditional_t<Ball::kSplits, Split<T>, T>;
    constexpr bool kL2 = std::is_same_v<Ball, L2>, kSearch = kExact || !kL2;
    constexpr int kLengths = kExact ? 3 : 1;  // of v - x0; and of clip(v) - x0 and clip(x0) - x0
    struct Verdict {
        Fate fate;
        bool found;                // the level
        Terms<T, kLengths> scale;  // of the lengths, while they are unclear
        Level level;
    };
    const double eps = tile.row.eps();
    const auto moved = [&](Place at) { return tile.v(at) - tile.x0(at); };
    const auto clipped = [&](Place at, T z) { return clip(z, tile.lo(at), tile.hi(at)); };
    const auto ended = [](Fate fate) { return Verdict{fate, true, {}, {}}; };
    const auto outside = [](double value, bool found) {
        Verdict verdict{Fate::outside, found, {}, {}};
        set<T>(verdict.level, value);
        return verdict;
    };

    __shared__ Root shared_root;  // spares the registers
    Root own_root;
    Root& root = Tile::Team::kOneJudge ? shared_root : own_root;
    Verdict verdict{Fate::unclear, false, {}, {}};
    for (T& scale : verdict.scale.at) scale = 1;
    while (verdict.fate == Fate::unclear) {
        const Terms<T, kLengths> scale = verdict.scale;
        const auto lengths = [&](Place at) {
            Terms<T, kLengths> terms{moved(at)};
            if constexpr (kExact) {
                terms.at[1] = clipped(at, tile.v(at)) - tile.x0(at);
                terms.at[2] = clipped(at, tile.x0(at)) - tile.x0(at);
            }
#pragma unroll
            for (int k = 0; k < kLengths; ++k) terms.at[k] = Ball::magnitude(scale.at[k] * terms.at[k]);
            return terms;
        };
        verdict = total(tile, lengths, [&](const auto& sums) {
            Verdict unclear{Fate::inside, false, scale, {}};
            double length[kLengths];
#pragma unroll
            for (int k = 0; k < kLengths; ++k) {
                length[k] = Ball::length(sums.at[k]) / scale.at[k];
                const double safe = safe_scale<T, Ball>(sums.at[k]);
                if (scale.at[k] != 1 || safe == 1 || k == 2) continue;  // the last is 0 as a rule
                unclear.fate = Fate::unclear;
                unclear.scale.at[k] = static_cast<T>(safe);
            }
            if (unclear.fate == Fate::unclear) return unclear;
            const double spent = length[kExact ? 1 : 0];
            if (!(length[0] <= Limits<double>::kMax)) return ended(Fate::lost);  // a NaN or an infinity: it must show
            if (!(eps > 0)) return ended(Fate::centred);
            if (spent <= eps) return ended(Fate::inside);
            if (kExact && length[kLengths - 1] >= eps) return ended(Fate::centred);  // the ball misses the box
            if constexpr (kL2) root = L2::start(eps, length[0]);
            if constexpr (!kL2) root = L1::start(eps, length[0], spent, tile.row.dim);
            return outside(Ball::level(root), !kSearch);
        });
    }
    if constexpr (kSearch) {
        double unit = 1;
        if constexpr (kL2) unit = L2::unit_of<T>(eps);
        for (int pass = 0; !verdict.found && pass < kMaxPasses; ++pass) {
            const Level level = verdict.level;
            const auto pieces = [&](Place at) {
                if constexpr (kExact)
                    return piece(Ball{}, tile.v(at), tile.x0(at), level, tile.lo(at), tile.hi(at),
                                 static_cast<T>(unit));
                else
                    return L1::piece(abs_of(moved(at)), level);
            };
            verdict = total(tile, pieces, [&](const Terms<typename Tile::Sum, 2>& now) {
                const bool more = Ball::advance(root, now.at[0], now.at[1], eps * unit, Limits<T>::kUlp);
                return outside(Ball::level(root), !more);
            });
        }
    }
    rewrite(
        tile,
        [&](Place at) {
            const T v = tile.v(at), x0 = tile.x0(at);
            const T z = verdict.fate == Fate::inside    ? v
                        : verdict.fate == Fate::centred ? x0
                        : verdict.fate == Fate::outside ? x0 + Ball::pull(v - x0, verdict.level)
                                                        : T(NAN);
            return clipped(at, z);
        },
        [&](Place at, const auto& z) { tile.write(at, z); });
}

// blockDim (threads of a team, teams)
template <class Ball, bool kExact, class Tile, int kMost> __global__ void __launch_bounds__(kMost)
    ball_kernel(const Call call) {
    const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (index >= call.n) return;
    Tile tile(call, index);
    if (call.grad && !call.top_q) along_gradient<Ball>(tile);
    if constexpr (std::is_same_v<Ball, L1>)
        if (call.grad && call.top_q) along_top(tile, call.top_q);
    settle<Ball, kExact>(tile);
}

// --- launches --------------------------------------------------------------------------------------------------------

int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Launch {
    void (*kernel)(Call);
    int64_t blocks;  // stays below 2^31: that many would need terabytes
    dim3 threads;
};

// Whether all rows can be moved kAccess bytes (bf16: half as many) at a time.
template <class T, class G> bool aligned(const Call& call) {
    constexpr int64_t kWidth = kAccess / sizeof(T);
    const auto fits = [](const void* data, int64_t stride, size_t size) {
        return reinterpret_cast<uintptr_t>(data) % (kWidth * size) == 0 && stride % kWidth == 0;
    };
    return call.dim % kWidth == 0 && fits(call.x, call.x_stride, sizeof(T)) &&
           fits(call.x0, call.x0_stride, sizeof(T)) && fits(call.out, call.out_stride, sizeof(T)) &&
           fits(call.grad, call.grad_stride, sizeof(G)) && fits(call.lo, 0, sizeof(T)) && fits(call.hi, 0, sizeof(T));
}

template <class T, class G> Launch plan_linf(const Call& call, bool wide) {
    constexpr int kWidth = kAccess / sizeof(T);
    const int64_t packs = call.n * (wide ? call.dim / kWidth : call.dim);
    return {wide ? linf_kernel<T, G, kWidth> : linf_kernel<T, G, 1>, over(packs, kLinfThreads), kLinfThreads};
}

template <class Ball, bool kExact, class T> Launch plan_ball(const Call& call, bool wide) {
    using Small = Resident<T, Warp, 4, 1>;
    using Large = Resident<T, Block, 3, kAccess / sizeof(T)>;
    constexpr int kSmallTeams = 8, kSmall = kWarp * kSmallTeams;
    // 768: few enough registers for three blocks of 3,072 floats at a time. What needs more shall not spill them.
    constexpr int kLarge = kExact || sizeof(T) > 4 ? 512 : kMaxThreads, kStreaming = 512;
    if (call.dim <= Small::kPerThread * kWarp)
        return {ball_kernel<Ball, kExact, Small, kSmall>, over(call.n, kSmallTeams), {kWarp, kSmallTeams}};
    const auto whole_warps = [&](int elements, int most) {
        return static_cast<unsigned>(std::min<int64_t>(over(call.dim, kWarp * elements) * kWarp, most));
    };
    if (wide && call.dim <= Large::kPerThread * kLarge)
        return {ball_kernel<Ball, kExact, Large, kLarge>, call.n, whole_warps(Large::kPerThread, kLarge)};
    return {ball_kernel<Ball, kExact, Streaming<T>, kStreaming>, call.n, whole_warps(Streaming<T>::kWidth, kStreaming)};
}

template <class T, class G> Launch plan(const Call& call) {
    const bool wide = aligned<T, G>(call);
    if (call.norm == Norm::linf) return plan_linf<T, G>(call, wide);
    if (call.norm == Norm::l2)
        return call.exact ? plan_ball<L2, true, T>(call, wide) : plan_ball<L2, false, T>(call, wide);
    return call.exact ? plan_ball<L1, true, T>(call, wide) : plan_ball<L1, false, T>(call, wide);
}

std::string version(int number) {
    return number ? std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10) : "";
}

}  // namespace

void pgd_step_cuda(const Call& call, int device, uintptr_t stream) {
    if (call.n == 0 || call.dim == 0) return;
    const DeviceGuard guard(device);
    const Launch launch = call.type == Type::f64         ? plan<double, double>(call)
                          : call.grad_type == Type::bf16 ? plan<float, BFloat16>(call)
                                                         : plan<float, float>(call);
    void* arguments[] = {const_cast<Call*>(&call)};
    check(cudaLaunchKernel(reinterpret_cast<const void*>(launch.kernel), static_cast<unsigned>(launch.blocks),
                           launch.threads, arguments, 0, reinterpret_cast<cudaStream_t>(stream)),
          device);
}

CudaDriver cuda_driver() {
    int driver = 0, runtime = 0, devices = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess) devices = 0;
    cudaGetLastError();
    return {version(driver), version(runtime), devices};
}

}  // namespace linfair
