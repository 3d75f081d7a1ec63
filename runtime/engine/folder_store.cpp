// State by canonical parameter names, so that any pipeline and expert layout goes on from it.
#include "runtime/engine/folder_store.hpp"

#include <algorithm>

#include "runtime/engine/load.hpp"
#include "runtime/store/trainer_state.hpp"

namespace sluice::engine {
namespace {

std::span<const float> values_or_none(const Tensor& tensor) {
  return tensor.empty() ? std::span<const float>() : std::span<const float>(tensor.values<float>());
}

Status read_optimizer(model::ParameterSet& set, const store::OptimizerReader& optimizer,
                      const store::TrainerState& state) {
  for (model::Parameter& p : set.all()) {
    if (optimizer.contains(store::OptimizerTensor::kMaster, p.name)) {
      SLUICE_TRY(optimizer.read(store::OptimizerTensor::kMaster, p.name, p.shape,
                                p.master.values<float>()));
    }
    if (p.m.empty()) continue;
    SLUICE_TRY(
        optimizer.read(store::OptimizerTensor::kFirstMoment, p.name, p.shape, p.m.values<float>()));
    SLUICE_TRY(optimizer.read(store::OptimizerTensor::kSecondMoment, p.name, p.shape,
                              p.v.values<float>()));
    const auto fewer = state.fewer_updates.find(p.name);
    p.updates = fewer == state.fewer_updates.end() ? state.step : fewer->second;
  }
  return {};
}

}  // namespace

Result<std::string> FolderStore::write(std::int64_t index,
                                       std::span<const actors::ParameterState> parameters,
                                       const CheckpointLosses& losses) {
  SLUICE_ASSIGN(store::CheckpointWriter writer, directory_.begin(index));
  store::TrainerState state = base_;
  state.step = index;
  state.samples_consumed = index * global_batch_size_;
  state.training_loss = losses.training;
  state.validation_loss = losses.validation;
  for (const actors::ParameterState& p : parameters) {
    SLUICE_TRY(
        writer.add(p.name, {p.value.values<float>(), values_or_none(p.m), values_or_none(p.v)}));
    if (!p.m.empty() && p.updates != index) state.fewer_updates.emplace(p.name, p.updates);
  }
  SLUICE_ASSIGN(const std::filesystem::path path, writer.commit(std::move(state)));
  SLUICE_TRY(directory_.remove_old());
  return path.string();
}

store::CheckpointLayout checkpoint_layout(
    Cluster& cluster, const model::ModelConfig& model, model::Recipe recipe,
    std::vector<std::pair<std::string, std::string>> tokenizer_files) {
  store::CheckpointLayout layout;
  layout.model = model;
  layout.weights = recipe == model::Recipe::kBf16 ? DType::kBF16 : DType::kF32;
  layout.files = std::move(tokenizer_files);
  static_cast<void>(cluster.for_each_owner([&](model::ParameterSet& set) -> Status {
    for (const model::Parameter& p : set.all()) {
      if (p.is_replica) continue;
      const bool is_bias = p.kind == model::ParameterKind::kGateBias;
      layout.parameters.push_back({p.name, p.shape, !is_bias, is_bias});
    }
    return {};
  }));
  // By name: the same bytes whatever the pipeline and expert layout.
  std::sort(layout.parameters.begin(), layout.parameters.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return layout;
}

Result<store::TrainerState> resume(Cluster& cluster, const std::filesystem::path& checkpoint) {
  SLUICE_ASSIGN(store::TrainerState state, store::read_trainer_state(checkpoint));
  SLUICE_ASSIGN(const store::CheckpointReader reader, store::CheckpointReader::open(checkpoint));
  SLUICE_TRY(load_weights(cluster, reader));
  SLUICE_ASSIGN(const store::OptimizerReader optimizer, store::OptimizerReader::open(checkpoint));
  SLUICE_TRY(cluster.for_each_owner(
      [&](model::ParameterSet& set) { return read_optimizer(set, optimizer, state); }));
  return state;
}

}  // namespace sluice::engine
