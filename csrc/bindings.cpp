// linfair._C: raw pointers in, no torch anywhere, the GIL released while the op runs.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "cpu_paths.h"
#include "pgd_step.h"

namespace py = pybind11;

namespace {

constexpr int kInterface = 2;  // linfair/_native.py refuses a module of another number

const void* pointer(uintptr_t address) { return reinterpret_cast<const void*>(address); }

struct Span {
    uintptr_t begin, end;
    bool meets(const Span& other) const { return begin < other.end && other.begin < end; }
};

Span span(const void* data, int64_t bytes) {
    const auto begin = reinterpret_cast<uintptr_t>(data);
    return {begin, data ? begin + static_cast<uintptr_t>(bytes) : begin};
}

// Whether `out` shares memory with what is read, other than by being x or grad itself. Only of dense rows do the ends
// tell; the caller has looked at all others.
bool overlaps(const linfair::Call& call) {
    const auto dense = [&](int64_t stride) { return stride == call.dim || call.n == 1; };
    if (!dense(call.x_stride) || !dense(call.x0_stride) || !dense(call.grad_stride) || !dense(call.out_stride))
        return false;
    const int64_t bytes = call.type == linfair::Type::f64 ? 8 : 4, count = call.n * call.dim;
    const bool narrow = call.grad_type == linfair::Type::bf16;
    const Span out = span(call.out, count * bytes);
    const auto meets = [&](const void* data, int64_t size) { return out.meets(span(data, size)); };
    return (call.x != call.out && meets(call.x, count * bytes)) || meets(call.x0, count * bytes) ||
           ((call.grad != call.out || narrow) && meets(call.grad, count * (narrow ? 2 : bytes))) ||
           meets(call.eps, (call.eps_stride ? call.n : 1) * bytes) ||
           meets(call.step, (call.step_stride ? call.n : 1) * bytes) || meets(call.lo, call.dim * bytes) ||
           meets(call.hi, call.dim * bytes);
}

// False, with nothing written, for memory that overlaps or values that are invalid: the caller finds the words.
bool pgd_step(int device, uintptr_t stream_or_threads, int norm, int type, int grad_type, int64_t n, int64_t dim,
              uintptr_t x, int64_t x_stride, uintptr_t x0, int64_t x0_stride, uintptr_t grad, int64_t grad_stride,
              uintptr_t out, int64_t out_stride, uintptr_t eps, int64_t eps_stride, double eps_value, uintptr_t step,
              int64_t step_stride, double step_value, uintptr_t lo, uintptr_t hi, double lo_value, double hi_value,
              bool descend, bool exact, int64_t top_q) {
    linfair::Call call{};
    call.x = pointer(x), call.x_stride = x_stride;
    call.x0 = pointer(x0), call.x0_stride = x0_stride;
    call.grad = pointer(grad), call.grad_stride = grad_stride;
    call.out = reinterpret_cast<void*>(out), call.out_stride = out_stride;
    call.eps = pointer(eps), call.eps_stride = eps_stride, call.eps_value = eps_value;
    call.step = pointer(step), call.step_stride = step_stride, call.step_value = step_value;
    call.lo = pointer(lo), call.lo_value = lo_value;
    call.hi = pointer(hi), call.hi_value = hi_value;
    call.n = n, call.dim = dim, call.top_q = top_q;
    call.norm = static_cast<linfair::Norm>(norm);
    call.type = static_cast<linfair::Type>(type), call.grad_type = static_cast<linfair::Type>(grad_type);
    call.descend = descend, call.exact = exact;

    if (overlaps(call)) return false;
    const py::gil_scoped_release unlocked;
    if (device < 0) return linfair::pgd_step_cpu(call, static_cast<int>(stream_or_threads));
#ifdef LINFAIR_WITH_CUDA
    linfair::pgd_step_cuda(call, device, stream_or_threads);
    return true;
#else
    throw std::runtime_error("linfair._C was built without CUDA; install nvcc and run pip install -e . again");
#endif
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = LINFAIR_COMPILER;
    info["flags"] = LINFAIR_BUILD_FLAGS;
    info["cpu_paths"] = linfair::compiled_cpu_paths();
    info["openmp"] = linfair::openmp();
    info["cuda"] = LINFAIR_CUDA_TEXT;
    info["cuda_arch"] = LINFAIR_CUDA_ARCH_TEXT;
    info["config"] = LINFAIR_BUILD_CONFIG;
    return info;
}

py::dict cuda_driver() {
    py::dict info;
    linfair::CudaDriver driver{};
#ifdef LINFAIR_WITH_CUDA
    driver = linfair::cuda_driver();
#endif
    info["driver"] = driver.driver;
    info["runtime"] = driver.runtime;
    info["devices"] = driver.devices;
    return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    m.doc() = "Native PGD step and projections of linfair; use linfair.ops, which checks its arguments.";
    m.attr("INTERFACE") = kInterface;
    m.def("pgd_step", &pgd_step);
    m.def("build_info", &build_info, "How this module was compiled.");
    m.def("cuda_driver", &cuda_driver, "CUDA driver and runtime versions, number of devices; empty without a driver.");
    m.def("cpu_paths", &linfair::cpu_paths, "Instruction sets compiled in that this CPU supports, the fastest last.");
    m.def("cpu_path", &linfair::cpu_path, "The instruction set in use.");
    m.def("use_cpu_path", &linfair::use_cpu_path, py::arg("name"), "Use this instruction set, or 'auto'.");
    if (const char* forced = std::getenv("LINFAIR_CPU")) {
        try {
            linfair::use_cpu_path(forced);
        } catch (const std::invalid_argument& error) {
            throw py::import_error(error.what());
        }
    }
}
