// DeepSeek-V3 on H800 as its report describes it, for tests of the cost model.
#pragma once

#include <string_view>

#include "graph/cost/step.hpp"

namespace sluice::cost::test {

/// configs/hardware/h800.toml with one of its rate sets.
[[nodiscard]] Hardware h800(std::string_view rates);
/// 61 layers, 16 pipeline ranks, 64-way experts, 2048 GPUs, 15360 sequences of 4096 tokens.
[[nodiscard]] Job deepseek_v3();
/// The step, which must be possible.
[[nodiscard]] Step step_of(const Job& job, const Hardware& hardware);

}  // namespace sluice::cost::test
