// Runs CUDA kernels on the host, block by block. A block's threads are fibers; which of those that may run goes on is
// drawn at random, so that a missing barrier shows as wrong numbers under some seed. Threads that wait for others which
// never come are reported as a launch failure.

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "pgd_step.h"

dim3 gridDim, blockDim, blockIdx, threadIdx;
extern "C" char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

namespace {

using Kernel = void (*)(linfair::Call);

constexpr int kWarp = 32, kMaxThreads = 1024, kDevices = 2;
constexpr size_t kStack = 128 << 10;

enum class State { ready, at_barrier, at_shuffle, done };

struct Fiber {
    std::vector<char> stack;
    ucontext_t start;
    jmp_buf here;
    bool started = false;
    State state = State::done;
    dim3 index;
    unsigned mask = 0;
    uint64_t sent = 0, received = 0;
    int distance = 0;
};

std::vector<Fiber> fibers(kMaxThreads);
std::vector<int> ready;
std::mt19937_64 chance;
jmp_buf scheduler;
ucontext_t origin;
int current, threads, at_barrier, device_in_use, launched;
int broken_line, reached_by;
Kernel kernel;
const linfair::Call* call;
std::string failure;

void resume(int index) {
    current = index;
    Fiber& fiber = fibers[index];
    threadIdx = fiber.index;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.here, 1);
    fiber.started = true;
    setcontext(&fiber.start);
}

void pause(State state) {
    Fiber& fiber = fibers[current];
    fiber.state = state;
    if (!_setjmp(fiber.here)) _longjmp(scheduler, 1);
}

void live() {
    for (;;) {
        kernel(*call);
        pause(State::done);
    }
}

void wake(int index) {
    fibers[index].state = State::ready;
    ready.push_back(index);
}

void release_barrier() {
    for (int i = 0; i < threads; ++i) wake(i);
    at_barrier = 0;
}

// Lets the warp of `index` go on once all lanes that the mask names have come.
void release_shuffle(int index) {
    const int first = index / kWarp * kWarp;
    const unsigned mask = fibers[index].mask;
    for (int lane = 0; lane < kWarp; ++lane) {
        if (!(mask >> lane & 1)) continue;
        const bool there = first + lane < threads && fibers[first + lane].state == State::at_shuffle;
        if (!there || fibers[first + lane].mask != mask) return;
    }
    for (int lane = 0; lane < kWarp; ++lane)
        if (mask >> lane & 1)
            fibers[first + lane].received = fibers[first + (lane ^ fibers[first + lane].distance)].sent;
    for (int lane = 0; lane < kWarp; ++lane)
        if (mask >> lane & 1) wake(first + lane);
}

bool run_block() {
    std::fill(__start_cuda_shared, __stop_cuda_shared, static_cast<char>(0xff));
    ready.clear();
    at_barrier = 0;
    for (int i = 0; i < threads; ++i) {
        fibers[i].index = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
        wake(i);
    }
    int done = 0;
    while (!ready.empty()) {
        // Half the time the thread that was woken last: its warp runs ahead of the others.
        if (chance() % 2) std::swap(ready[chance() % ready.size()], ready.back());
        const int index = ready.back();
        ready.pop_back();
        resume(index);
        switch (fibers[index].state) {
            case State::at_barrier:
                if (++at_barrier == threads) release_barrier();
                break;
            case State::at_shuffle:
                release_shuffle(index);
                break;
            default:
                ++done;
        }
    }
    if (done == threads) return true;
    failure = "threads diverged: " + std::to_string(done) + " of " + std::to_string(threads) + " returned, " +
              std::to_string(at_barrier) + " wait at a barrier, the rest at a shuffle";
    for (Fiber& fiber : fibers) fiber.started = false;
    return false;
}

void make_stacks() {
    for (Fiber& fiber : fibers) {
        if (fiber.started) continue;
        fiber.stack.resize(kStack);
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack.data();
        fiber.start.uc_stack.ss_size = kStack;
        fiber.start.uc_link = &origin;
        makecontext(&fiber.start, live, 0);
    }
}

}  // namespace

void emulated_barrier(int line) {
    if (line != broken_line || current < reached_by) pause(State::at_barrier);
}

uint64_t emulated_shuffle(unsigned mask, uint64_t bits, int distance) {
    Fiber& fiber = fibers[current];
    fiber.mask = mask, fiber.sent = bits, fiber.distance = distance;
    pause(State::at_shuffle);
    return fiber.received;
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t, cudaStream_t) {
    threads = static_cast<int>(block.x * block.y * block.z);
    if (threads == 0 || threads > kMaxThreads || grid.x == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
        grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    ++launched;
    kernel = reinterpret_cast<Kernel>(const_cast<void*>(function));
    call = static_cast<const linfair::Call*>(arguments[0]);
    gridDim = grid, blockDim = block;
    make_stacks();
    std::vector<unsigned> order(grid.x);
    for (unsigned i = 0; i < grid.x; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), chance);
    for (const unsigned x : order) {
        blockIdx = dim3(x, 0, 0);
        if (!run_block()) return cudaErrorLaunchFailure;
    }
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) { return *device = device_in_use, cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= kDevices) return cudaErrorInvalidDevice;
    return device_in_use = device, cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) { return *count = kDevices, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 12090, cudaSuccess; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
    if (error == cudaErrorInvalidDevice) return "invalid device ordinal";
    if (error == cudaErrorInvalidConfiguration) return "invalid configuration argument";
    return error == cudaErrorLaunchFailure ? failure.c_str() : "another error";
}

// The arguments of linfair._C.pgd_step on a device; null, or what went wrong.
extern "C" const char* pgd_step(int device, uintptr_t stream, int norm, int type, int grad_type, int64_t n, int64_t dim,
                                void* x, int64_t x_stride, void* x0, int64_t x0_stride, void* grad, int64_t grad_stride,
                                void* out, int64_t out_stride, void* eps, int64_t eps_stride, double eps_value,
                                void* step, int64_t step_stride, double step_value, void* lo, void* hi, double lo_value,
                                double hi_value, bool descend, bool exact, int64_t top_q) {
    linfair::Call call{};
    call.x = x, call.x_stride = x_stride, call.x0 = x0, call.x0_stride = x0_stride;
    call.grad = grad, call.grad_stride = grad_stride, call.out = out, call.out_stride = out_stride;
    call.eps = eps, call.eps_stride = eps_stride, call.eps_value = eps_value;
    call.step = step, call.step_stride = step_stride, call.step_value = step_value;
    call.lo = lo, call.hi = hi, call.lo_value = lo_value, call.hi_value = hi_value;
    call.n = n, call.dim = dim, call.top_q = top_q, call.descend = descend, call.exact = exact;
    call.norm = static_cast<linfair::Norm>(norm);
    call.type = static_cast<linfair::Type>(type), call.grad_type = static_cast<linfair::Type>(grad_type);
    static std::string said;
    try {
        linfair::pgd_step_cuda(call, device, stream);
        return nullptr;
    } catch (const std::runtime_error& error) {
        said = error.what();
        return said.c_str();
    }
}

extern "C" void seed(uint64_t value) { chance.seed(value); }
// From now on only the first threads reach the barrier in this line.
extern "C" void break_barrier(int line, int threads_that_reach_it) {
    broken_line = line;
    reached_by = threads_that_reach_it;
}
extern "C" int launches() { return launched; }
extern "C" int device() { return device_in_use; }
