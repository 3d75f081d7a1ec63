// SwiGLU in plain scalar code.
#include "kernels/activation/swiglu_kernels.hpp"
#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/lanes_math.hpp"

namespace sluice::kernels::reference {
namespace {

template <class T>
void forward_rows(const SwiGluForward& args, std::int64_t first, std::int64_t last) {
  const auto y = args.y.as<T>();
  for (std::int64_t r = first; r < last; ++r) {
    const T* gate = args.gate_up.as<T>().row(r);
    const T* up = gate + y.columns;
    for (std::int64_t i = 0; i < y.columns; ++i) {
      const float g = to_float(gate[i]);
      float value = g * lane_sigmoid(g) * to_float(up[i]);
      if (!args.row_weight.empty()) value *= args.row_weight[static_cast<std::size_t>(r)];
      y.row(r)[i] = from_float<T>(value);
    }
  }
}

// One row; returns the gradient of its weight.
template <class T>
float backward_row(const T* gate, const T* up, const T* dy, const float* weight, T* dgate, T* dup,
                   std::int64_t n) {
  LaneSum dweight;
  for (std::int64_t i = 0; i < n; ++i) {
    const float g = to_float(gate[i]), u = to_float(up[i]), d = to_float(dy[i]);
    const float s = lane_sigmoid(g), silu = g * s;
    const float dsilu = s * std::fma(g, 1.0f - s, 1.0f);
    const float weighted = weight != nullptr ? d * *weight : d;
    dweight.add_product(i, d, silu * u);
    dgate[i] = from_float<T>(weighted * u * dsilu);
    dup[i] = from_float<T>(weighted * silu);
  }
  return dweight.total(n);
}

template <class T>
void backward_rows(const SwiGluBackward& args, std::int64_t first, std::int64_t last) {
  const std::int64_t n = args.dy.columns;
  for (std::int64_t r = first; r < last; ++r) {
    const auto row = static_cast<std::size_t>(r);
    const T* gate = args.gate_up.as<T>().row(r);
    T* dgate = args.dgate_up.as<T>().row(r);
    const bool weighted = !args.row_weight.empty();
    const float dweight =
        backward_row(gate, gate + n, args.dy.as<T>().row(r),
                     weighted ? &args.row_weight[row] : nullptr, dgate, dgate + n, n);
    if (weighted) args.drow_weight[row] = dweight;
  }
}

void forward(const SwiGluForward& args, std::int64_t first, std::int64_t last) {
  visit_element(args.y.dtype, [&]<class T>(T) { forward_rows<T>(args, first, last); });
}

void backward(const SwiGluBackward& args, std::int64_t first, std::int64_t last) {
  visit_element(args.dy.dtype, [&]<class T>(T) { backward_rows<T>(args, first, last); });
}

}  // namespace

const SwiGluKernels kSwiGlu{forward, backward};

}  // namespace sluice::kernels::reference
