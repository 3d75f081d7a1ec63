// RMSNorm layers.
#include "graph/model/norm.hpp"

#include "kernels/norm/rms_norm.hpp"
#include "kernels/optimizer/adamw.hpp"

namespace sluice::model {
namespace {

TensorView row_view(const Tensor& vector) {
  return vector.reshaped(Shape{1, vector.shape().count()}).view();
}

}  // namespace

Norm::Norm(const std::shared_ptr<const ModelConstants>& constants, std::string name,
           ParameterSet& set)
    : Norm(set, std::move(name), constants->config.hidden_size,
           static_cast<float>(constants->config.rms_norm_eps)) {}

Norm::Norm(ParameterSet& set, std::string name, std::int64_t width, float epsilon)
    : set_(&set),
      weight_(set.add(std::move(name), ParameterKind::kVector, Shape{width})),
      epsilon_(epsilon) {}

void Norm::forward(const kernels::ComputeContext& context, TensorView x, TensorView y, bool keep,
                   Saved& saved) {
  if (keep) saved.inverse_rms = context.make(DType::kF32, Shape{x.rows});
  kernels::rms_norm(context, x, row_view(set_->all()[weight_].compute), epsilon_, y,
                    keep ? saved.inverse_rms.values<float>() : std::span<float>{});
}

Tensor Norm::forward(const kernels::ComputeContext& context, const Tensor& x, bool keep,
                     Saved& saved) {
  Tensor y = context.make(x.dtype(), x.shape());
  if (keep) saved.x = x;
  forward(context, x.view(), y.view(), keep, saved);
  return y;
}

void Norm::backward_input(const kernels::ComputeContext& context, TensorView x, TensorView dy,
                          TensorView dx, Saved& saved) {
  const std::span<const float> inverse_rms = saved.inverse_rms.values<const float>();
  saved.dweight = context.make(DType::kF32, Shape{x.columns});
  kernels::clear(context, saved.dweight.values<float>());
  kernels::rms_norm_backward_weight(context, x, inverse_rms, dy, saved.dweight.values<float>());
  kernels::rms_norm_backward_input(context, x, row_view(set_->all()[weight_].compute), inverse_rms,
                                   dy, dx, false);
  saved.inverse_rms = {};
}

Tensor Norm::backward_input(const kernels::ComputeContext& context, const Tensor& dy, Saved& saved,
                            const Tensor& residual) {
  Tensor dx = context.make(dy.dtype(), dy.shape());
  backward_input(context, saved.x.view(), dy.view(), dx.view(), saved);
  saved.x = {};
  if (!residual.empty()) kernels::add(context, residual.view(), dx.view(), dx.view());
  return dx;
}

void Norm::backward_weights(const kernels::ComputeContext& context, Saved& saved) {
  const TensorView gradient = row_view(set_->all()[weight_].gradient);
  kernels::add(context, gradient, row_view(saved.dweight), gradient);
  saved = {};
}

}  // namespace sluice::model
