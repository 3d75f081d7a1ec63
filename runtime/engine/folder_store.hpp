// Checkpoints of a run as step folders, and how a run goes on from one.
#pragma once

#include <filesystem>
#include <optional>

#include "runtime/config/config.hpp"
#include "runtime/engine/cluster.hpp"
#include "runtime/store/checkpoint_writer.hpp"

namespace sluice::engine {

/// Mean losses of the main head that belong to a checkpoint: of the step that ended in its weights,
/// and of its weights on the validation samples where they were validated.
struct CheckpointLosses {
  std::optional<double> training, validation;
};

class FolderStore {
 public:
  FolderStore(store::CheckpointDirectory directory, store::TrainerState base,
              std::int64_t global_batch_size)
      : directory_(std::move(directory)),
        base_(std::move(base)),
        global_batch_size_(global_batch_size) {}

  /// Returns the folder's path once the checkpoint is whole and safe.
  Result<std::string> write(std::int64_t index, std::span<const actors::ParameterState> parameters,
                            const CheckpointLosses& losses);

 private:
  store::CheckpointDirectory directory_;
  store::TrainerState base_;  // what is the same in every checkpoint of the run
  std::int64_t global_batch_size_;
};

/// What a checkpoint of this cluster holds.
[[nodiscard]] store::CheckpointLayout checkpoint_layout(
    Cluster& cluster, const model::ModelConfig& model, model::Recipe recipe,
    std::vector<std::pair<std::string, std::string>> tokenizer_files);

/// Weights, moments and update counts of a training checkpoint, into any layout. Returns where it
/// stood.
[[nodiscard]] Result<store::TrainerState> resume(Cluster& cluster,
                                                 const std::filesystem::path& checkpoint);

}  // namespace sluice::engine
