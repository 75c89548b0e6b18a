// One call of the op, as the bindings hand it to the CPU path or to the CUDA launcher. No torch, no ownership.

#pragma once

#include <cstdint>
#include <string>

namespace linfair {

enum class Norm : int { linf, l2, l1 };
enum class Type : int { f32, f64, bf16 };

// Sample i of a tensor is the dense row data + i * stride of `dim` elements; all tensors of a call share one order of
// elements inside a sample, whichever it is (NCHW, NHWC, ...).
struct Call {
    const void *x, *x0, *grad;  // grad null: no step, out is the projection of x
    void* out;                  // may be x or grad, and overlaps nothing else
    int64_t x_stride, x0_stride, grad_stride, out_stride;

    const void *eps, *step;  // one a sample (stride 1) or one for all (stride 0), of the type of x; or null: the number
    int64_t eps_stride, step_stride;
    double eps_value, step_value;

    const void *lo, *hi;        // [dim] bounds in the element order of a sample, or both null: the numbers below
    double lo_value, hi_value;  // -+infinity where there is no bound

    int64_t n, dim;
    int64_t top_q;  // l1: move the top_q largest gradient entries only; 0 moves along the whole gradient
    Norm norm;
    Type type, grad_type;  // of x, x0, out: f32 or f64; of grad: the same, or bf16 beside f32
    bool descend;          // step against the gradient
    bool exact;            // project onto ball and box; else onto the ball, then clip
};

// False, with nothing written, if a budget is negative or NaN, a step negative or not finite, or the box empty.
bool pgd_step_cpu(const Call& call, int threads);

// Queues the work on `stream` of `device` and returns; throws std::runtime_error with CUDA's words.
void pgd_step_cuda(const Call& call, int device, uintptr_t stream);

struct CudaDriver {
    std::string driver, runtime;  // versions such as "13.0"; empty where there is no driver
    int devices;
};

// What a CUDA build finds on this machine. Never throws.
CudaDriver cuda_driver();

}  // namespace linfair
