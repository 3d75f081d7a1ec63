// Step folders: written hidden, synced, renamed.
#include "runtime/store/checkpoint_writer.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "kernels/base/check.hpp"
#include "runtime/store/hf_config.hpp"
#include "runtime/store/json_file.hpp"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kWritingPrefix = ".writing-";
constexpr std::string_view kRemovingPrefix = ".removing-";
constexpr std::size_t kNarrowedAtOnce = 256 * 1024;

// Absent where `name` is no step folder's.
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  name.remove_prefix(kStepPrefix.size());
  std::int64_t step = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || step < 0) return std::nullopt;
  return step;
}

struct StepFolder {
  std::int64_t step = 0;
  fs::path path;
};

// Newest first; empty where the directory cannot be read.
std::vector<StepFolder> steps_in(const fs::path& directory) {
  std::vector<StepFolder> steps;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (const auto step = step_of(it->path().filename().string())) {
      steps.push_back({*step, it->path()});
    }
  }
  std::sort(steps.begin(), steps.end(),
            [](const StepFolder& a, const StepFolder& b) { return a.step > b.step; });
  return steps;
}

Status remove_leftovers(const fs::path& directory) {
  std::vector<fs::path> leftovers;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(kWritingPrefix) || name.starts_with(kRemovingPrefix)) {
      leftovers.push_back(it->path());
    }
  }
  for (const fs::path& path : leftovers) SLUICE_TRY(remove_tree(path));
  return {};
}

// Hidden first, so that a kill in the midst leaves no step folder with files missing.
Status remove_step(const fs::path& path) {
  const fs::path hidden =
      path.parent_path() / (std::string(kRemovingPrefix) + path.filename().string());
  SLUICE_TRY(rename_path(path, hidden));
  return remove_tree(hidden);
}

// The released layout repeats embedding and head in every multi-token prediction layer; other
// engines read them there.
std::vector<std::string> copies_of(std::string_view name, const model::ModelConfig& model) {
  std::vector<std::string> copies;
  const bool is_embedding = name == "model.embed_tokens.weight";
  if (!is_embedding && name != "lm_head.weight") return copies;
  for (std::int64_t layer = model.num_hidden_layers; layer < model.layer_count(); ++layer) {
    copies.push_back(fmt::format("model.layers.{}.{}", layer,
                                 is_embedding ? "embed_tokens.weight" : "shared_head.head.weight"));
  }
  return copies;
}

std::vector<TensorSpec> model_specs(const CheckpointLayout& layout) {
  std::vector<TensorSpec> specs;
  for (const SavedParameter& parameter : layout.parameters) {
    const DType dtype = parameter.always_fp32 ? DType::kF32 : layout.weights;
    specs.push_back({parameter.name, dtype, parameter.shape});
    for (std::string& copy : copies_of(parameter.name, layout.model)) {
      specs.push_back({std::move(copy), dtype, parameter.shape});
    }
  }
  return specs;
}

std::vector<TensorSpec> optimizer_specs(const CheckpointLayout& layout) {
  std::vector<TensorSpec> specs;
  for (const SavedParameter& p : layout.parameters) {
    if (layout.weights != DType::kF32 && !p.always_fp32) {
      specs.push_back({name_of(OptimizerTensor::kMaster, p.name), DType::kF32, p.shape});
    }
    if (!p.has_moments) continue;
    specs.push_back({name_of(OptimizerTensor::kFirstMoment, p.name), DType::kF32, p.shape});
    specs.push_back({name_of(OptimizerTensor::kSecondMoment, p.name), DType::kF32, p.shape});
  }
  return specs;
}

std::uint64_t size_of(const TensorSpec& spec) {
  return static_cast<std::uint64_t>(spec.shape.count()) * sluice::size_of(spec.dtype);
}

// In order, as many to a shard as fit; a tensor larger than a shard has one of its own.
std::vector<std::vector<TensorSpec>> split_into_shards(std::vector<TensorSpec> specs,
                                                       std::uint64_t bytes_max) {
  std::vector<std::vector<TensorSpec>> shards(1);
  std::uint64_t bytes = 0;
  for (TensorSpec& spec : specs) {
    if (bytes + size_of(spec) > bytes_max && !shards.back().empty()) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += size_of(spec);
    shards.back().push_back(std::move(spec));
  }
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  return count == 1 ? "model.safetensors"
                    : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

std::string index_text(const std::vector<std::vector<TensorSpec>>& shards) {
  nlohmann::json map = nlohmann::json::object();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (const TensorSpec& spec : shards[i]) {
      map[spec.name] = shard_name(i, shards.size());
      total += size_of(spec);
    }
  }
  return to_text({{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}});
}

Status write_narrowed(const SafetensorsWriter& file, std::size_t position,
                      std::span<const float> value) {
  std::vector<BF16> buffer(std::min(kNarrowedAtOnce, value.size()));
  for (std::size_t first = 0; first < value.size(); first += kNarrowedAtOnce) {
    const auto part = value.subspan(first, std::min(kNarrowedAtOnce, value.size() - first));
    std::transform(part.begin(), part.end(), buffer.begin(), &BF16::from_float);
    SLUICE_TRY(file.write_bytes(position, first * sizeof(BF16),
                                std::as_bytes(std::span(buffer).first(part.size()))));
  }
  return {};
}

}  // namespace

Status CheckpointWriter::create_files() {
  SLUICE_TRY(create_model_files());
  if (layout_->with_optimizer) SLUICE_TRY(create_optimizer_file());
  SLUICE_TRY(write_text_file("config.json", write_hf_config(layout_->model, layout_->weights)));
  for (const auto& [name, content] : layout_->files) SLUICE_TRY(write_text_file(name, content));
  for (const SavedParameter& parameter : layout_->parameters) {
    SLUICE_CHECK(added_.emplace(parameter.name, false).second, "{} stands twice", parameter.name);
  }
  return {};
}

Status CheckpointWriter::create_model_files() {
  const auto shards = split_into_shards(model_specs(*layout_), layout_->shard_bytes_max);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    SLUICE_ASSIGN(SafetensorsWriter shard,
                  SafetensorsWriter::create(hidden_.path() / name, shards[i]));
    sizes_[name] = shard.size_bytes();
    shards_.push_back(std::move(shard));
    for (const TensorSpec& spec : shards[i]) {
      shard_of_.emplace(spec.name, static_cast<std::uint32_t>(i));
    }
  }
  return shards.size() == 1 ? Status{}
                            : write_text_file("model.safetensors.index.json", index_text(shards));
}

Status CheckpointWriter::create_optimizer_file() {
  SLUICE_ASSIGN(optimizer_, SafetensorsWriter::create(hidden_.path() / kOptimizerFile,
                                                      optimizer_specs(*layout_)));
  sizes_[std::string(kOptimizerFile)] = optimizer_->size_bytes();
  return {};
}

Status CheckpointWriter::write_text_file(const std::string& name, std::string_view text) {
  sizes_[name] = text.size();
  return write_text(hidden_.path() / name, text);
}

Status CheckpointWriter::write_weight(std::string_view name, std::span<const float> value) const {
  const SafetensorsWriter& shard = shards_[shard_of_.find(std::string(name))->second];
  const std::size_t position = shard.position(name);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(value.size()), shard.specs()[position].shape.count());
  if (shard.specs()[position].dtype == DType::kBF16) return write_narrowed(shard, position, value);
  return shard.write_bytes(position, 0, std::as_bytes(value));
}

Status CheckpointWriter::add(std::string_view name, const ParameterElements& elements) {
  const auto it = added_.find(name);
  SLUICE_CHECK(it != added_.end() && !it->second, "{} is not of the layout, or was added before",
               name);
  it->second = true;
  SLUICE_TRY(write_weight(name, elements.value));
  for (const std::string& copy : copies_of(name, layout_->model)) {
    SLUICE_TRY(write_weight(copy, elements.value));
  }
  if (!optimizer_) return {};
  const auto& index = optimizer_->specs();
  const auto write_if_wanted = [&](OptimizerTensor tensor,
                                   std::span<const float> values) -> Status {
    const auto position = optimizer_->find(name_of(tensor, name));
    if (!position) return {};
    SLUICE_CHECK_EQ(static_cast<std::int64_t>(values.size()), index[*position].shape.count());
    return optimizer_->write_bytes(*position, 0, std::as_bytes(values));
  };
  SLUICE_TRY(write_if_wanted(OptimizerTensor::kMaster, elements.value));
  SLUICE_TRY(write_if_wanted(OptimizerTensor::kFirstMoment, elements.first_moment));
  return write_if_wanted(OptimizerTensor::kSecondMoment, elements.second_moment);
}

Status CheckpointWriter::sync_files() {
  for (const SafetensorsWriter& shard : shards_) SLUICE_TRY(shard.sync());
  return optimizer_ ? optimizer_->sync() : Status{};
}

Result<fs::path> CheckpointWriter::commit(TrainerState state) {
  for (const auto& [name, added] : added_) SLUICE_CHECK(added, "{} was not added", name);
  SLUICE_TRY(sync_files());
  state.files = sizes_;
  SLUICE_TRY(write_text(hidden_.path() / kTrainerStateFile, write_trainer_state(state)));
  SLUICE_TRY(sync_directory(hidden_.path()));
  std::error_code error;
  if (fs::exists(target_, error)) {
    SLUICE_TRY(exchange_paths(hidden_.path(), target_));  // hidden_ is the old one now, and goes
  } else {
    SLUICE_TRY(rename_path(hidden_.path(), target_));
    hidden_.release();
  }
  SLUICE_TRY(sync_directory(target_.parent_path()));
  return target_;
}

Result<CheckpointDirectory> CheckpointDirectory::open(const fs::path& directory,
                                                      CheckpointLayout layout, std::int64_t keep) {
  SLUICE_CHECK_GE(keep, 1);
  SLUICE_TRY(make_directories(directory));
  SLUICE_ASSIGN(LockFile lock, LockFile::acquire(directory / ".lock"));
  SLUICE_TRY(remove_leftovers(directory));
  // In one order whatever the owners' was, so that every layout of a run writes the same bytes.
  std::sort(layout.parameters.begin(), layout.parameters.end(),
            [](const SavedParameter& a, const SavedParameter& b) { return a.name < b.name; });
  return CheckpointDirectory(directory, std::make_unique<CheckpointLayout>(std::move(layout)), keep,
                             std::move(lock));
}

Result<CheckpointWriter> CheckpointDirectory::begin(std::int64_t step) const {
  const std::string name = fmt::format("{}{:08}", kStepPrefix, step);
  const fs::path hidden = path_ / (std::string(kWritingPrefix) + name);
  SLUICE_TRY(remove_tree(hidden));
  SLUICE_TRY(make_directories(hidden));
  CheckpointWriter writer(*layout_, hidden, path_ / name);
  SLUICE_TRY(writer.create_files());
  return writer;
}

Status CheckpointDirectory::remove_old() const {
  const std::vector<StepFolder> steps = steps_in(path_);
  for (std::size_t i = static_cast<std::size_t>(keep_); i < steps.size(); ++i) {
    SLUICE_TRY(remove_step(steps[i].path));
  }
  return {};
}

Status check_whole(const fs::path& folder) {
  SLUICE_ASSIGN(const TrainerState state, read_trainer_state(folder));
  for (const auto& [name, size] : state.files) {
    std::error_code error;
    const std::uint64_t found = fs::file_size(folder / name, error);
    if (error || found != size) {
      return invalid_input("{} is incomplete: {} should have {} bytes", folder.string(), name,
                           size);
    }
  }
  return {};
}

std::optional<fs::path> newest_checkpoint(const fs::path& directory) {
  for (const StepFolder& step : steps_in(directory)) {
    if (check_whole(step.path)) return step.path;
  }
  return std::nullopt;
}

Result<fs::path> find_checkpoint(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return invalid_input("{} is not a folder; name a checkpoint or the folder of a run",
                         path.string());
  }
  if (fs::exists(path / "config.json", error)) return path;
  for (const fs::path& directory : {path, path / "checkpoints"}) {
    if (const auto newest = newest_checkpoint(directory)) return *newest;
  }
  return invalid_input(
      "{} is not a checkpoint: it holds neither a config.json nor a whole step folder; name a "
      "checkpoint or the folder of a run",
      path.string());
}

}  // namespace sluice::store
