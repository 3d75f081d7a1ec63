// Written out here, so that tests do not depend on configs/deepseek_v3.toml.
#include "tests/graph/cost/jobs.hpp"

#include "kernels/base/check.hpp"
#include "runtime/config/hardware_file.hpp"

namespace sluice::cost::test {

Hardware h800(std::string_view rates) {
  const auto file = config::load_hardware(SLUICE_CONFIGS "/hardware/h800.toml", rates);
  SLUICE_CHECK(file.has_value(), "h800.toml can be read");
  return file->hardware;
}

Job deepseek_v3() {
  Job job;
  job.model.num_nextn_predict_layers = 1;
  job.recipe = Recipe::kFp8;
  job.pipeline_parallel_size = 16;
  job.data_parallel_size = 128;
  job.expert_parallel_size = 64;
  job.schedule = "dualpipe";
  job.layers_per_stage.assign(16, 4);
  job.layers_per_stage.back() = 1;
  job.global_batch_size = 15360;
  return job;
}

Step step_of(const Job& job, const Hardware& hardware) {
  auto step = simulate_step(job, hardware);
  SLUICE_CHECK(step.has_value(), "the layout is possible");
  return *std::move(step);
}

}  // namespace sluice::cost::test
