// As much of CUDA as csrc/pgd_step_cuda.cu uses, for a host compiler: emulator.cpp runs its kernels thread by thread.
//
// Threads of a block are fibers that run one at a time and change hands at barriers and shuffles only. Shared memory
// lies in a section of its own, which is filled with garbage before each block.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("cuda_shared")))

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 gridDim, blockDim, blockIdx, threadIdx;

#define __syncthreads() emulated_barrier(__LINE__)
void emulated_barrier(int line);
uint64_t emulated_shuffle(unsigned mask, uint64_t bits, int other_lane_xor);

template <class To, class From> To bit_copy(From from) {
    To to{};
    static_assert(sizeof(To) >= sizeof(From));
    std::memcpy(&to, &from, sizeof from);
    return to;
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int distance) {
    const uint64_t bits = emulated_shuffle(mask, bit_copy<uint64_t>(value), distance);
    T result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

inline uint32_t __float_as_uint(float value) { return bit_copy<uint32_t>(value); }
inline float __uint_as_float(uint32_t bits) { return bit_copy<float>(bits); }
inline long long __double_as_longlong(double value) { return bit_copy<long long>(value); }

enum cudaError_t {
    cudaSuccess,
    cudaErrorNoDevice,
    cudaErrorInsufficientDriver,
    cudaErrorInvalidDevice,
    cudaErrorInvalidConfiguration,
    cudaErrorNoKernelImageForDevice,
    cudaErrorUnsupportedPtxVersion,
    cudaErrorLaunchFailure,
};
using cudaStream_t = struct CUstream_st*;

cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments, size_t shared, cudaStream_t);
