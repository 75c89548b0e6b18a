// The unit of bench_pgd_step.py: three arrays read, one written, next to nothing to compute. No update of x from x0 and
// a gradient moves less memory.

#include <cstdint>

static void stream(float* __restrict x, const float* __restrict x0, const float* __restrict grad, int64_t count) {
    for (int64_t i = 0; i < count; ++i) x[i] = 0.5f * x[i] + 0.25f * (x0[i] + grad[i]);
}

extern "C" void read3_write1(float* x, const float* x0, const float* grad, int64_t count, int threads) {
    const int64_t share = (count + threads - 1) / threads;
#pragma omp parallel for schedule(static, 1) num_threads(threads) if (threads > 1)
    for (int t = 0; t < threads; ++t) {
        const int64_t first = t * share;
        if (first < count) stream(x + first, x0 + first, grad + first, share < count - first ? share : count - first);
    }
}
