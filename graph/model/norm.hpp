// An RMSNorm with a weight of its own.
//
// The weight's gradient over one micro-batch is summed in the input pass, while its operands are in
// cache, and added to the parameter's gradient in the weight pass: nothing of size [T, H] waits in
// between.
#pragma once

#include <memory>
#include <string>

#include "graph/model/batch.hpp"

namespace sluice::model {

class Norm {
 public:
  struct Saved {
    Tensor x;            ///< [T, width]
    Tensor inverse_rms;  ///< fp32 [T]
    Tensor dweight;      ///< fp32 [width], of this micro-batch
  };

  /// Over rows of width hidden_size, with rms_norm_eps (model.norm, shared_head.norm, ...).
  Norm(const std::shared_ptr<const ModelConstants>& constants, std::string name, ParameterSet& set);
  Norm(ParameterSet& set, std::string name, std::int64_t width, float epsilon);

  Tensor forward(const kernels::ComputeContext& context, const Tensor& x, bool keep, Saved& saved);
  /// dx, or residual + dx. Frees x and inverse_rms.
  Tensor backward_input(const kernels::ComputeContext& context, const Tensor& dy, Saved& saved,
                        const Tensor& residual = {});
  /// Adds saved.dweight to the parameter's gradient and frees it.
  void backward_weights(const kernels::ComputeContext& context, Saved& saved);

  // The same over columns of wider matrices (the latents); `saved.x` is not used.
  void forward(const kernels::ComputeContext& context, TensorView x, TensorView y, bool keep,
               Saved& saved);
  void backward_input(const kernels::ComputeContext& context, TensorView x, TensorView dy,
                      TensorView dx, Saved& saved);

 private:
  const ParameterSet* set_;
  std::size_t weight_;
  float epsilon_;
};

}  // namespace sluice::model
