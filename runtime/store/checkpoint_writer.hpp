// Writes training checkpoints, each a folder "step-00000123" that appears whole or not at all.
//
// A step folder is a Hugging Face checkpoint (shards with index, config.json, the tokenizer's
// files) that transformers loads, plus optimizer.safetensors and trainer_state.json. It is written
// under a hidden name, every file synced, then renamed, then the directory synced: killed at any
// moment, what bears a step's name is whole. Left-overs of a killed writer go when the next one
// opens the directory. Older steps beyond `keep` go after a new one is safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "graph/model_config.hpp"
#include "kernels/base/dtype.hpp"
#include "kernels/base/result.hpp"
#include "kernels/base/shape.hpp"
#include "runtime/store/file.hpp"
#include "runtime/store/safetensors.hpp"
#include "runtime/store/trainer_state.hpp"

namespace sluice::store {

/// A parameter as a checkpoint will hold it.
struct SavedParameter {
  std::string name;
  Shape shape;
  bool has_moments = true;   ///< false for e_score_correction_bias
  bool always_fp32 = false;  ///< true for e_score_correction_bias: never narrowed
};

/// Its elements. Moments are empty where has_moments is false, or where no optimizer state is
/// saved.
struct ParameterElements {
  std::span<const float> value, first_moment, second_moment;
};

/// What is the same for all checkpoints of a run.
struct CheckpointLayout {
  model::ModelConfig model;
  DType weights =
      DType::kF32;  ///< kF32, or kBF16: then the fp32 master weights go to the optimizer's file
  std::vector<SavedParameter> parameters;
  std::vector<std::pair<std::string, std::string>> files;  ///< name, content: tokenizer.json, ...
  bool with_optimizer = true;
  std::uint64_t shard_bytes_max = 4ull << 30;
};

/// One step folder in the making; destroyed before commit(), nothing of it stays.
class CheckpointWriter {
 public:
  /// In any order, each parameter of the layout once.
  [[nodiscard]] Status add(std::string_view name, const ParameterElements& elements);
  /// Makes the folder appear; every parameter must have been added. Returns its path.
  [[nodiscard]] Result<std::filesystem::path> commit(TrainerState state);

 private:
  friend class CheckpointDirectory;
  CheckpointWriter(const CheckpointLayout& layout, std::filesystem::path hidden,
                   std::filesystem::path target)
      : layout_(&layout), hidden_(std::move(hidden)), target_(std::move(target)) {}

  [[nodiscard]] Status create_files();
  [[nodiscard]] Status create_model_files();
  [[nodiscard]] Status create_optimizer_file();
  [[nodiscard]] Status write_weight(std::string_view name, std::span<const float> value) const;
  [[nodiscard]] Status write_text_file(const std::string& name, std::string_view text);
  [[nodiscard]] Status sync_files();

  const CheckpointLayout* layout_;  // of the directory
  TemporaryTree hidden_;  // where it is written; what cannot be removed goes at the next start
  std::filesystem::path target_;
  std::vector<SafetensorsWriter> shards_;
  std::unordered_map<std::string, std::uint32_t> shard_of_;  // tensor name -> shards_
  std::optional<SafetensorsWriter> optimizer_;
  std::unordered_map<std::string_view, bool> added_;  // keys: names in layout_
  std::map<std::string, std::uint64_t> sizes_;        // by file name
};

/// A directory of step folders, held for writing by one process at a time. Move-only.
class CheckpointDirectory {
 public:
  /// Makes the directory, takes its lock, removes left-overs. Fails where another process holds it.
  [[nodiscard]] static Result<CheckpointDirectory> open(const std::filesystem::path& directory,
                                                        CheckpointLayout layout, std::int64_t keep);

  /// Takes the disk space for the whole checkpoint. A step that is there already is replaced at
  /// commit(). One writer at a time; this object outlives it.
  [[nodiscard]] Result<CheckpointWriter> begin(std::int64_t step) const;
  /// Removes all but the newest `keep` steps.
  [[nodiscard]] Status remove_old() const;
  [[nodiscard]] const CheckpointLayout& layout() const { return *layout_; }

 private:
  CheckpointDirectory(std::filesystem::path path, std::unique_ptr<CheckpointLayout> layout,
                      std::int64_t keep, LockFile lock)
      : path_(std::move(path)), layout_(std::move(layout)), keep_(keep), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  std::unique_ptr<CheckpointLayout> layout_;  // at a fixed address: writers point to it
  std::int64_t keep_ = 1;
  LockFile lock_;
};

/// Whether every file that the folder's trainer_state.json lists is there in its size; else what is
/// wrong.
[[nodiscard]] Status check_whole(const std::filesystem::path& folder);
/// The newest whole step folder in `directory`; absent when there is none.
[[nodiscard]] std::optional<std::filesystem::path> newest_checkpoint(
    const std::filesystem::path& directory);
/// The checkpoint that `path` means: the folder itself where it holds a config.json, else the
/// newest whole step in it or in its folder "checkpoints". An error says what was looked for.
[[nodiscard]] Result<std::filesystem::path> find_checkpoint(const std::filesystem::path& path);

}  // namespace sluice::store
