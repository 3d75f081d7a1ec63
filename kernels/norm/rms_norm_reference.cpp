// RMSNorm in plain scalar code.
#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/lanes_math.hpp"
#include "kernels/norm/rms_norm_kernels.hpp"

namespace sluice::kernels::reference {
namespace {

template <class T, class W>
void forward_rows(const RmsNormForward& args, std::int64_t first, std::int64_t last) {
  const auto x = args.x.as<T>(), y = args.y.as<T>();
  const W* weight = args.weight.as<W>().data;
  for (std::int64_t r = first; r < last; ++r) {
    LaneSum squares;
    for (std::int64_t i = 0; i < x.columns; ++i) {
      const float value = to_float(x.row(r)[i]);
      squares.add_product(i, value, value);
    }
    const float inverse = inverse_rms_of(squares.total(x.columns), x.columns, args.epsilon);
    if (!args.inverse_rms.empty()) args.inverse_rms[static_cast<std::size_t>(r)] = inverse;
    for (std::int64_t i = 0; i < x.columns; ++i) {
      y.row(r)[i] = from_float<T>(to_float(x.row(r)[i]) * inverse * to_float(weight[i]));
    }
  }
}

template <class T, class W>
void backward_input_rows(const RmsNormBackwardInput& args, std::int64_t first, std::int64_t last) {
  const auto x = args.x.as<T>(), dy = args.dy.as<T>(), dx = args.dx.as<T>();
  const W* weight = args.weight.as<W>().data;
  for (std::int64_t r = first; r < last; ++r) {
    LaneSum sum;
    for (std::int64_t i = 0; i < x.columns; ++i) {
      sum.add_product(i, to_float(dy.row(r)[i]) * to_float(weight[i]), to_float(x.row(r)[i]));
    }
    const float inverse = args.inverse_rms[static_cast<std::size_t>(r)];
    const float k = projection_of(sum.total(x.columns), x.columns, inverse);
    for (std::int64_t i = 0; i < x.columns; ++i) {
      const float weighted = to_float(dy.row(r)[i]) * to_float(weight[i]);
      const float value = inverse * std::fma(-to_float(x.row(r)[i]), k, weighted);
      dx.row(r)[i] = from_float<T>(args.accumulate ? to_float(dx.row(r)[i]) + value : value);
    }
  }
}

template <class T>
void backward_weight_columns(const RmsNormBackwardWeight& args, std::int64_t first,
                             std::int64_t last) {
  const auto x = args.x.as<T>(), dy = args.dy.as<T>();
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const float inverse = args.inverse_rms[static_cast<std::size_t>(r)];
    for (std::int64_t i = first; i < last; ++i) {
      float& sum = args.dweight[static_cast<std::size_t>(i)];
      sum = std::fma(to_float(dy.row(r)[i]), to_float(x.row(r)[i]) * inverse, sum);
    }
  }
}

void forward(const RmsNormForward& args, std::int64_t first, std::int64_t last) {
  visit_element(args.x.dtype, [&]<class T>(T) {
    visit_element(args.weight.dtype, [&]<class W>(W) { forward_rows<T, W>(args, first, last); });
  });
}

void backward_input(const RmsNormBackwardInput& args, std::int64_t first, std::int64_t last) {
  visit_element(args.x.dtype, [&]<class T>(T) {
    visit_element(args.weight.dtype,
                  [&]<class W>(W) { backward_input_rows<T, W>(args, first, last); });
  });
}

void backward_weight(const RmsNormBackwardWeight& args, std::int64_t first, std::int64_t last) {
  visit_element(args.x.dtype, [&]<class T>(T) { backward_weight_columns<T>(args, first, last); });
}

void add(TensorView a, TensorView b, TensorView y, std::int64_t first, std::int64_t last) {
  visit_element(a.dtype, [&]<class T>(T) {
    for (std::int64_t r = first; r < last; ++r) {
      for (std::int64_t i = 0; i < a.columns; ++i) {
        const float sum = to_float(a.as<T>().row(r)[i]) + to_float(b.as<T>().row(r)[i]);
        y.as<T>().row(r)[i] = from_float<T>(sum);
      }
    }
  });
}

}  // namespace

const NormKernels kNorm{forward, backward_input, backward_weight, add};

}  // namespace sluice::kernels::reference
