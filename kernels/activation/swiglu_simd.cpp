// SwiGLU in 16 lanes, for every SIMD kernel set.
#include "kernels/activation/swiglu_kernels.hpp"

#define SLUICE_ISA_SOURCE "kernels/activation/swiglu_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

template <class T>
void forward_rows(const SwiGluForward& args, std::int64_t first, std::int64_t last) {
  const auto gate_up = args.gate_up.as<T>(), y = args.y.as<T>();
  const std::int64_t n = y.columns;
  const bool weighted = !args.row_weight.empty();
  for (std::int64_t r = first; r < last; ++r) {
    const T* gate = gate_up.row(r);
    const Lanes weight = set1(weighted ? args.row_weight[static_cast<std::size_t>(r)] : 1.0f);
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes g = load_up_to(gate + i, n - i);
      const Lanes value = mul(mul(g, sigmoid(g)), load_up_to(gate + n + i, n - i));
      store_up_to(y.row(r) + i, mul(value, weight), n - i);
    }
  }
}

// One row; returns the gradient of its weight.
template <class T>
float backward_row(const T* gate, const T* up, const T* dy, Lanes weight, T* dgate, T* dup,
                   std::int64_t n) {
  const Lanes one = set1(1.0f);
  Lanes dweight = zero();
  for (std::int64_t i = 0; i < n; i += kLanes) {
    const Lanes g = load_up_to(gate + i, n - i), u = load_up_to(up + i, n - i);
    const Lanes d = load_up_to(dy + i, n - i);
    const Lanes s = sigmoid(g), silu = mul(g, s);
    const Lanes dsilu = mul(s, fma(g, sub(one, s), one));
    const Lanes weighted = mul(d, weight);
    dweight = fma(d, mul(silu, u), dweight);
    store_up_to(dgate + i, mul(mul(weighted, u), dsilu), n - i);
    store_up_to(dup + i, mul(weighted, silu), n - i);
  }
  return fold_sum(dweight);
}

template <class T>
void backward_rows(const SwiGluBackward& args, std::int64_t first, std::int64_t last) {
  const auto gate_up = args.gate_up.as<T>(), dy = args.dy.as<T>(), dgate_up = args.dgate_up.as<T>();
  const std::int64_t n = dy.columns;
  const bool weighted = !args.row_weight.empty();
  for (std::int64_t r = first; r < last; ++r) {
    const auto row = static_cast<std::size_t>(r);
    const Lanes weight = set1(weighted ? args.row_weight[row] : 1.0f);
    const float dweight = backward_row(gate_up.row(r), gate_up.row(r) + n, dy.row(r), weight,
                                       dgate_up.row(r), dgate_up.row(r) + n, n);
    if (weighted) args.drow_weight[row] = dweight;
  }
}

void forward(const SwiGluForward& args, std::int64_t first, std::int64_t last) {
  if (args.y.dtype == DType::kF32) return forward_rows<float>(args, first, last);
  forward_rows<BF16>(args, first, last);
}

void backward(const SwiGluBackward& args, std::int64_t first, std::int64_t last) {
  if (args.dy.dtype == DType::kF32) return backward_rows<float>(args, first, last);
  backward_rows<BF16>(args, first, last);
}

}  // namespace

const SwiGluKernels kSwiGlu{forward, backward};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
