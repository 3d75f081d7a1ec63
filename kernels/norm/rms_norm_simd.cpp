// RMSNorm in 16 lanes, for every SIMD kernel set.
#include "kernels/norm/rms_norm_kernels.hpp"

#define SLUICE_ISA_SOURCE "kernels/norm/rms_norm_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

template <class T, class W>
void forward_rows(const RmsNormForward& args, std::int64_t first, std::int64_t last) {
  const auto x = args.x.as<T>(), y = args.y.as<T>();
  const W* weight = args.weight.as<W>().data;
  const std::int64_t n = x.columns;
  for (std::int64_t r = first; r < last; ++r) {
    Lanes squares = zero();
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes value = load_up_to(x.row(r) + i, n - i);
      squares = fma(value, value, squares);
    }
    const float inverse = inverse_rms_of(fold_sum(squares), n, args.epsilon);
    if (!args.inverse_rms.empty()) args.inverse_rms[static_cast<std::size_t>(r)] = inverse;
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes value = mul(load_up_to(x.row(r) + i, n - i), set1(inverse));
      store_up_to(y.row(r) + i, mul(value, load_up_to(weight + i, n - i)), n - i);
    }
  }
}

template <class T, class W>
void backward_input_rows(const RmsNormBackwardInput& args, std::int64_t first, std::int64_t last) {
  const auto x = args.x.as<T>(), dy = args.dy.as<T>(), dx = args.dx.as<T>();
  const W* weight = args.weight.as<W>().data;
  const std::int64_t n = x.columns;
  for (std::int64_t r = first; r < last; ++r) {
    Lanes sum = zero();
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes weighted = mul(load_up_to(dy.row(r) + i, n - i), load_up_to(weight + i, n - i));
      sum = fma(weighted, load_up_to(x.row(r) + i, n - i), sum);
    }
    const float inverse = args.inverse_rms[static_cast<std::size_t>(r)];
    const Lanes k = set1(projection_of(fold_sum(sum), n, inverse));
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes weighted = mul(load_up_to(dy.row(r) + i, n - i), load_up_to(weight + i, n - i));
      Lanes value = mul(set1(inverse), fnma(load_up_to(x.row(r) + i, n - i), k, weighted));
      if (args.accumulate) value = add(load_up_to(dx.row(r) + i, n - i), value);
      store_up_to(dx.row(r) + i, value, n - i);
    }
  }
}

template <class T>
void backward_weight_columns(const RmsNormBackwardWeight& args, std::int64_t first,
                             std::int64_t last) {
  const auto x = args.x.as<T>(), dy = args.dy.as<T>();
  constexpr std::int64_t kBlocks = 4;  // 64 columns stay in registers while the rows pass
  for (std::int64_t i = first; i < last; i += kBlocks * kLanes) {
    const std::int64_t blocks = std::min(kBlocks, (last - i + kLanes - 1) / kLanes);
    Lanes sum[kBlocks];
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t j = i + b * kLanes;
      sum[b] = load_up_to(args.dweight.data() + j, last - j);
    }
    for (std::int64_t r = 0; r < x.rows; ++r) {
      const Lanes inverse = set1(args.inverse_rms[static_cast<std::size_t>(r)]);
      for (std::int64_t b = 0; b < blocks; ++b) {
        const std::int64_t j = i + b * kLanes;
        const Lanes normed = mul(load_up_to(x.row(r) + j, last - j), inverse);
        sum[b] = fma(load_up_to(dy.row(r) + j, last - j), normed, sum[b]);
      }
    }
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t j = i + b * kLanes;
      store_up_to(args.dweight.data() + j, sum[b], last - j);
    }
  }
}

template <class T>
void add_rows(MatrixView<T> a, MatrixView<T> b, MatrixView<T> y, std::int64_t first,
              std::int64_t last) {
  const std::int64_t n = a.columns;
  for (std::int64_t r = first; r < last; ++r) {
    for (std::int64_t i = 0; i < n; i += kLanes) {
      const Lanes sum = add(load_up_to(a.row(r) + i, n - i), load_up_to(b.row(r) + i, n - i));
      store_up_to(y.row(r) + i, sum, n - i);
    }
  }
}

void forward(const RmsNormForward& args, std::int64_t first, std::int64_t last) {
  if (args.x.dtype == DType::kF32) return forward_rows<float, float>(args, first, last);
  if (args.weight.dtype == DType::kF32) return forward_rows<BF16, float>(args, first, last);
  forward_rows<BF16, BF16>(args, first, last);
}

void backward_input(const RmsNormBackwardInput& args, std::int64_t first, std::int64_t last) {
  if (args.x.dtype == DType::kF32) return backward_input_rows<float, float>(args, first, last);
  if (args.weight.dtype == DType::kF32) return backward_input_rows<BF16, float>(args, first, last);
  backward_input_rows<BF16, BF16>(args, first, last);
}

void backward_weight(const RmsNormBackwardWeight& args, std::int64_t first, std::int64_t last) {
  if (args.x.dtype == DType::kF32) return backward_weight_columns<float>(args, first, last);
  backward_weight_columns<BF16>(args, first, last);
}

void add_tensors(TensorView a, TensorView b, TensorView y, std::int64_t first, std::int64_t last) {
  if (a.dtype == DType::kF32)
    return add_rows(a.as<float>(), b.as<float>(), y.as<float>(), first, last);
  add_rows(a.as<BF16>(), b.as<BF16>(), y.as<BF16>(), first, last);
}

}  // namespace

const NormKernels kNorm{forward, backward_input, backward_weight, add_tensors};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
