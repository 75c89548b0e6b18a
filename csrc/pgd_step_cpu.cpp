// The CPU path: checks values, picks the instruction set, spreads samples over threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "cpu_paths.h"
#include "pgd_step.h"

namespace linfair {

void rows_default_(const Call& call, int64_t first, int64_t last, void* scratch);
#ifdef LINFAIR_HAVE_AVX2
void rows_avx2(const Call& call, int64_t first, int64_t last, void* scratch);
#endif
#ifdef LINFAIR_HAVE_AVX512
void rows_avx512(const Call& call, int64_t first, int64_t last, void* scratch);
#endif

namespace {

using Rows = void (*)(const Call&, int64_t, int64_t, void*);

struct Path {
    const char* name;
    Rows rows;
    bool supported;
};

const std::vector<Path>& paths() {
    static const std::vector<Path> all = {
        {"default", rows_default_, true},
#ifdef LINFAIR_HAVE_AVX2
        {"avx2", rows_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
#ifdef LINFAIR_HAVE_AVX512
        {"avx512", rows_avx512,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma")},
#endif
    };
    return all;
}

const Path* best() {
    const Path* found = nullptr;
    for (const Path& path : paths())
        if (path.supported) found = &path;
    return found;
}

std::atomic<const Path*> in_use{nullptr};

const Path& current() {
    if (!in_use) in_use = best();
    return *in_use.load();
}

template <class T> bool valid(const Call& call) {
    bool good = true;
    for (int64_t i = 0; i < (call.eps_stride ? call.n : 1); ++i) good &= static_cast<const T*>(call.eps)[i] >= 0;
    if (call.grad)
        for (int64_t i = 0; i < (call.step_stride ? call.n : 1); ++i) {
            const T step = static_cast<const T*>(call.step)[i];
            good &= step >= 0 && step <= std::numeric_limits<T>::max();
        }
    if (call.lo)
        for (int64_t i = 0; i < call.dim; ++i)
            good &= static_cast<const T*>(call.lo)[i] <= static_cast<const T*>(call.hi)[i];
    else
        good &= call.lo_value <= call.hi_value;
    return good;
}

// Below this many elements a thread costs more than it saves.
constexpr int64_t kGrain = 1 << 15;

}  // namespace

std::vector<std::string> compiled_cpu_paths() {
    std::vector<std::string> names;
    for (const Path& path : paths()) names.push_back(path.name);
    return names;
}

std::vector<std::string> cpu_paths() {
    std::vector<std::string> names;
    for (const Path& path : paths())
        if (path.supported) names.push_back(path.name);
    return names;
}

std::string cpu_path() { return current().name; }

void use_cpu_path(const std::string& name) {
    if (name == "auto") {
        in_use = best();
        return;
    }
    std::string choices = "auto";
    for (const Path& path : paths()) {
        if (!path.supported) continue;
        if (name == path.name) {
            in_use = &path;
            return;
        }
        choices += std::string(", ") + path.name;
    }
    throw std::invalid_argument("LINFAIR_CPU must be one of " + choices + " on this machine, got '" + name +
                                "'; unset it to use the fastest");
}

bool openmp() {
#ifdef _OPENMP
    return true;
#else
    return false;
#endif
}

bool pgd_step_cpu(const Call& call, int threads) {
    if (!(call.type == Type::f64 ? valid<double>(call) : valid<float>(call))) return false;
    const Rows rows = current().rows;
    const int64_t work = call.n * call.dim;
    const int64_t parts = std::max<int64_t>(1, std::min<int64_t>({threads, call.n, work / kGrain}));
    const auto part = [&](int64_t k) {
        thread_local std::vector<double> scratch;  // two numbers an element; grows to the largest sample seen
        const size_t needed = call.norm == Norm::l1 ? 2 * call.dim : 0;
        if (scratch.size() < needed) scratch.resize(needed);
        rows(call, call.n * k / parts, call.n * (k + 1) / parts, scratch.data());
    };
    if (parts == 1) {
        part(0);
        return true;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads(static_cast<int>(parts)) schedule(static, 1)
    for (int64_t k = 0; k < parts; ++k) part(k);
#else
    std::vector<std::thread> helpers;
    for (int64_t k = 1; k < parts; ++k) helpers.emplace_back(part, k);
    part(0);
    for (std::thread& helper : helpers) helper.join();
#endif
    return true;
}

}  // namespace linfair
