// Keys copied under the names of the cost model.
#include "runtime/config/job.hpp"

#include "runtime/config/schedule_file.hpp"

namespace sluice::config {

Result<cost::Job> job_of(const Config& config, const model::ModelConfig& model) {
  cost::Job job;
  if (config.precision.recipe == "fp32") {
    return invalid_input("{} is fp32, for which no hardware is described; use bf16 or fp8",
                         config.where("precision.recipe"));
  }
  job.model = model;
  job.recipe = config.precision.recipe == "fp8" ? cost::Recipe::kFp8 : cost::Recipe::kBf16;
  const TopologySection& topology = config.topology;
  job.pipeline_parallel_size = static_cast<std::int32_t>(topology.pipeline_parallel_size);
  job.data_parallel_size = static_cast<std::int32_t>(topology.data_parallel_size);
  job.expert_parallel_size = static_cast<std::int32_t>(topology.expert_parallel_size);
  job.layers_per_stage = topology.layers_per_stage;
  job.schedule = config.schedule.name;
  if (!config.schedule.file.empty()) {
    auto read = read_schedule(schedule_path(config));
    if (!read) return in_context(config.where("schedule.file"), std::move(read).error());
    job.schedule = config.schedule.file;
    job.schedule_read = std::move(read->schedule);
  }
  job.sequence_length = config.train.sequence_length;
  job.micro_batch_size = config.train.micro_batch_size;
  job.global_batch_size = config.train.global_batch_size;
  return job;
}

}  // namespace sluice::config
