// The model as planning sees it: bytes and operations of each part, from the same shapes that the
// layers make.
#pragma once

#include "graph/model/parameters.hpp"
#include "graph/summary.hpp"

namespace sluice::model {

/// Operations count attention over `sequence_length` causal positions. Packed panels are those of
/// the kernel set that `context` chooses (no threads or memory needed).
[[nodiscard]] graph::ModelSummary summarize(const ModelConfig& config, Recipe recipe,
                                            std::int64_t sequence_length,
                                            ParameterUse use = ParameterUse::kTraining,
                                            const kernels::ComputeContext& context = {});

}  // namespace sluice::model
