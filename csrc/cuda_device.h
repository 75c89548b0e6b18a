// CUDA's errors as exceptions that say what to do, and the device of a call.

#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace linfair {
namespace {

[[noreturn]] void fail(cudaError_t error, int device) {
    cudaGetLastError();  // reported here, so that the next call starts clean
    std::string remedy = "rerun with CUDA_LAUNCH_BLOCKING=1 to see whether an earlier kernel failed";
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorUnsupportedPtxVersion)
        remedy = "rebuild with LINFAIR_CUDA_ARCH=native on this machine";
    if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver || error == cudaErrorInvalidDevice)
        remedy = "check nvidia-smi and CUDA_VISIBLE_DEVICES, or use CPU tensors";
    throw std::runtime_error("linfair needs a working CUDA device " + std::to_string(device) + ", got '" +
                             cudaGetErrorString(error) + "'; " + remedy);
}

void check(cudaError_t error, int device) {
    if (error != cudaSuccess) fail(error, device);
}

// The device of the call, and the caller's again afterwards.
class DeviceGuard {
  public:
    explicit DeviceGuard(int device) {
        check(cudaGetDevice(&before_), device);
        if (device != before_) check(cudaSetDevice(device), device);
        changed_ = device != before_;
    }
    ~DeviceGuard() {
        if (changed_) cudaSetDevice(before_);
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int before_ = 0;
    bool changed_ = false;
};

}  // namespace
}  // namespace linfair
