// The CPU path: checks values, picks the instruction set, spreads samples over threads.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <system_error>
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
    const auto all = [](const void* data, int64_t count, double value, auto good) {
        if (!data) return good(static_cast<T>(value));
        bool every = true;
        for (int64_t i = 0; i < count; ++i) every &= good(static_cast<const T*>(data)[i]);
        return every;
    };
    const auto radius = [](T eps) { return eps >= 0; };
    const auto length = [](T step) { return step >= 0 && step <= std::numeric_limits<T>::max(); };
    if (!all(call.eps, call.eps_stride ? call.n : 1, call.eps_value, radius)) return false;
    if (call.grad && !all(call.step, call.step_stride ? call.n : 1, call.step_value, length)) return false;
    if (!call.lo) return call.lo_value <= call.hi_value;
    bool good = true;
    for (int64_t i = 0; i < call.dim; ++i)
        good &= static_cast<const T*>(call.lo)[i] <= static_cast<const T*>(call.hi)[i];
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

    // Two numbers an element and thread for the search of l1, kept for the next call. Made here: nothing may throw in
    // a parallel region.
    thread_local std::vector<double> scratch;
    const size_t each = call.norm == Norm::l1 ? 2 * static_cast<size_t>(call.dim) : 0;
    if (scratch.size() < each * parts) scratch.resize(each * parts);
    double* const memory = scratch.data();
    const auto part = [&](int64_t k) {
        rows(call, call.n * k / parts, call.n * (k + 1) / parts, memory + each * static_cast<size_t>(k));
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
    helpers.reserve(parts);
    int64_t k = 1;
    try {
        for (; k < parts; ++k) helpers.emplace_back(part, k);
    } catch (const std::system_error&) {  // no more threads to be had: the rest is done here
        for (; k < parts; ++k) part(k);
    }
    part(0);
    for (std::thread& helper : helpers) helper.join();
#endif
    return true;
}

}  // namespace linfair
