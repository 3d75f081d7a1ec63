// AdamW over a ParameterSet.
#include "graph/model/optimizer.hpp"

#include "kernels/optimizer/adamw.hpp"

namespace sluice::model {

void AdamW::update(const kernels::ComputeContext& context, ParameterSet& set) const {
  kernels::AdamWDesc desc{.learning_rate = learning_rate,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .epsilon = epsilon,
                          .gradient_scale = gradient_scale};
  for (Parameter& p : set.all()) {
    if (p.gradient.empty() || (p.is_expert && !p.reached)) continue;
    desc.step = ++p.updates;
    desc.weight_decay = p.kind == ParameterKind::kMatrix ? weight_decay : 0.0f;
    const bool copied = p.compute.dtype() == DType::kBF16;
    kernels::adamw(context, desc, p.gradient.values<float>(), p.master.values<float>(),
                   p.m.values<float>(), p.v.values<float>(),
                   copied ? p.compute.values<BF16>() : std::span<BF16>{});
  }
  set.bump_version();
}

}  // namespace sluice::model
