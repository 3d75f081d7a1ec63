// Shards, index and the rules on names; tensors to fp32.
#include "runtime/store/checkpoint_reader.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "runtime/store/json_file.hpp"
#include "runtime/store/widen.hpp"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kIndexBytesMax = 64u << 20;
constexpr std::size_t kListedMax = 20;              // tensors named in one message
constexpr std::size_t kChunkElements = 256 * 1024;  // read and widened at a time
constexpr int kBlock = 128;                         // FP8 scales: one for each kBlock x kBlock

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kScaleSuffix = "_scale_inv";

using WeightMap = std::map<std::string, std::string>;  // tensor -> file

bool is_plain_name(std::string_view file) {
  return !file.empty() && file != "." && file != ".." &&
         file.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

Result<WeightMap> read_index(const fs::path& path) {
  SLUICE_ASSIGN(const nlohmann::json index, read_json(path, kIndexBytesMax));
  const auto it = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || it == index.end() || !it->is_object()) {
    return invalid_input("{}: no object \"weight_map\"", path.string());
  }
  WeightMap map;
  for (const auto& [name, file] : it->items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>())) {
      return invalid_input(
          "{}: tensor \"{:.200}\": a shard must be the name of a file in this folder, not {:.200}",
          path.string(), name, file.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
    }
    map.emplace(name, file.get<std::string>());
  }
  if (map.empty()) return invalid_input("{}: \"weight_map\" is empty", path.string());
  return map;
}

std::string file_name(const SafetensorsFile& shard) { return shard.path().filename().string(); }

// Both ways: every tensor of the index in its shard, every tensor of a shard under that shard in
// the index.
Status check_against_index(const WeightMap& map, const std::vector<SafetensorsFile>& shards) {
  std::size_t found = 0;
  for (const SafetensorsFile& shard : shards) {
    for (const StoredTensor& tensor : shard.tensors()) {
      const auto it = map.find(tensor.name);
      if (it == map.end()) {
        return invalid_input("{} holds \"{:.200}\", which {} does not list", shard.path().string(),
                             tensor.name, kIndexFile);
      }
      if (it->second != file_name(shard)) {
        return invalid_input("{} holds \"{:.200}\", which {} places in {}", shard.path().string(),
                             tensor.name, kIndexFile, it->second);
      }
      ++found;
    }
  }
  if (found == map.size()) return {};
  for (const auto& [name, file] : map) {
    const auto shard = std::find_if(shards.begin(), shards.end(), [&wanted = file](const auto& s) {
      return file_name(s) == wanted;
    });
    if (!shard->contains(name)) {
      return invalid_input("{} does not hold \"{:.200}\", which {} places there",
                           shard->path().string(), name, kIndexFile);
    }
  }
  return {};
}

Result<std::vector<SafetensorsFile>> open_shards(const fs::path& folder, const WeightMap& map) {
  std::vector<std::string> files;
  for (const auto& [name, file] : map) files.push_back(file);
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  std::vector<SafetensorsFile> shards;
  for (const std::string& file : files) {
    std::error_code error;
    if (!fs::exists(folder / file, error)) {
      return invalid_input("{}: shard {} is missing; {} names it", folder.string(), file,
                           kIndexFile);
    }
    SLUICE_ASSIGN(SafetensorsFile shard, SafetensorsFile::open(folder / file));
    shards.push_back(std::move(shard));
  }
  SLUICE_TRY(check_against_index(map, shards));
  return shards;
}

Result<std::vector<SafetensorsFile>> open_weights(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / kSingleFile, error)) {  // transformers looks for it first, too
    SLUICE_ASSIGN(SafetensorsFile file, SafetensorsFile::open(folder / kSingleFile));
    std::vector<SafetensorsFile> shards;
    shards.push_back(std::move(file));
    return shards;
  }
  if (!fs::exists(folder / kIndexFile, error)) {
    return invalid_input("{} holds neither {} nor {}; name the folder of a Hugging Face checkpoint",
                         folder.string(), kSingleFile, kIndexFile);
  }
  SLUICE_ASSIGN(const WeightMap map, read_index(folder / kIndexFile));
  return open_shards(folder, map);
}

// The N of "model.layers.N.rest", with its rest.
struct LayerName {
  std::int64_t layer = 0;
  std::string_view rest;
};

std::optional<LayerName> split_layer(std::string_view name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  LayerName out;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), out.layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  out.rest = name.substr(static_cast<std::size_t>(end - name.data()) + 1);
  return out;
}

constexpr std::string_view kCopy = "a copy of the shared embedding or head";

// Why a tensor that the model does not need may be there all the same; empty: it may not.
std::string_view stored_only_reason(std::string_view name, const model::ModelConfig& config) {
  if (name.ends_with(".rotary_emb.inv_freq")) return "rotary frequencies, computed here";
  const auto layer = split_layer(name);
  if (!layer || layer->layer < config.num_hidden_layers) return "";
  if (layer->layer >= config.layer_count()) {
    return "multi-token prediction beyond num_nextn_predict_layers";
  }
  if (layer->rest == "embed_tokens.weight" || layer->rest == "shared_head.head.weight") {
    return kCopy;
  }
  return "";
}

std::string problem_of_stored_only(const StoredTensor& tensor, std::string_view reason,
                                   const model::ModelConfig& config) {
  const Shape wanted{config.vocab_size, config.hidden_size};
  if (reason != kCopy || tensor.shape() == wanted) return "";
  return fmt::format("shape {} where {} is needed", tensor.shape_text(), wanted.to_string());
}

std::int64_t blocks(std::int64_t size) { return (size + kBlock - 1) / kBlock; }

// `values` are whole rows, the first of them row `first_row` of the matrix.
void multiply_by_blocks(std::span<float> values, std::size_t columns, std::int64_t first_row,
                        std::span<const float> scales) {
  const auto scale_columns = static_cast<std::size_t>(blocks(static_cast<std::int64_t>(columns)));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t row = static_cast<std::size_t>(first_row) + i / columns;
    values[i] *= scales[row / kBlock * scale_columns + i % columns / kBlock];
  }
}

// At most kListedMax problems, the rest counted.
class ProblemList {
 public:
  void add(std::string_view kind, std::string_view name, std::string_view detail) {
    if (++count_ > kListedMax) return;
    text_ += fmt::format("\n  {}: {:.200}{}{}", kind, name, detail.empty() ? "" : ": ", detail);
  }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::string text() const {
    return count_ <= kListedMax ? text_
                                : fmt::format("{}\n  ... and {} more", text_, count_ - kListedMax);
  }

 private:
  std::size_t count_ = 0;
  std::string text_;
};

// One note for each reason, with an example: a layer that is not used has hundreds of tensors.
class NoteList {
 public:
  void add(std::string_view reason, std::string_view name) {
    Entry& entry = entries_[std::string(reason)];
    if (entry.count++ == 0) entry.example = name;
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> lines;
    for (const auto& [reason, entry] : entries_) {
      lines.push_back(fmt::format("not used: {} ({} tensor{}, such as {:.200})", reason,
                                  entry.count, entry.count == 1 ? "" : "s", entry.example));
    }
    return lines;
  }

 private:
  struct Entry {
    std::size_t count = 0;
    std::string example;
  };
  std::map<std::string, Entry> entries_;
};

// Before anybody takes memory for the model that config.json describes: the files must be able to
// fill it. Small gaps are left to check(), which names them.
Status check_size(const model::ModelConfig& config, const std::vector<SafetensorsFile>& shards) {
  constexpr double kSlack = 1e6;
  const model::ModelSize described = model::size_of(config);
  double bytes = 0;
  double tensors = 0;
  for (const SafetensorsFile& shard : shards) {
    tensors += static_cast<double>(shard.tensors().size());
    for (const StoredTensor& tensor : shard.tensors()) bytes += static_cast<double>(tensor.bytes);
  }
  // An element takes a byte or more.
  if (described.parameters <= 2 * bytes + kSlack && described.tensors <= 2 * tensors + kSlack / 100)
    return {};
  return invalid_input(
      "config.json describes {:.0f} parameters in {:.0f} tensors, but the files hold only {:.0f} "
      "tensors "
      "of {:.0f} bytes; is it this checkpoint's?",
      described.parameters, described.tensors, tensors, bytes);
}

}  // namespace

Result<CheckpointReader> CheckpointReader::open(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return invalid_input("{} is not a folder; name the folder of a Hugging Face checkpoint",
                         folder.string());
  }
  if (!fs::exists(folder / "config.json", error)) {
    return invalid_input("{} is not a checkpoint: it holds no config.json", folder.string());
  }
  SLUICE_ASSIGN(HfConfig config, read_hf_config(folder));
  SLUICE_ASSIGN(std::vector<SafetensorsFile> shards, open_weights(folder));
  if (auto status = check_size(config.model, shards); !status) {
    return in_context(folder.string(), std::move(status).error());
  }
  return CheckpointReader(folder, std::move(config), std::move(shards));
}

CheckpointReader::CheckpointReader(fs::path folder, HfConfig config,
                                   std::vector<SafetensorsFile> shards)
    : folder_(std::move(folder)), config_(std::move(config)), shards_(std::move(shards)) {
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    for (const StoredTensor& tensor : shards_[i].tensors()) {
      tensors_.emplace(tensor.name, Located{static_cast<std::uint32_t>(i), &tensor});
    }
  }
}

const CheckpointReader::Located* CheckpointReader::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

std::string CheckpointReader::problem_of(std::string_view name, const Shape& shape) const {
  const StoredTensor& stored = *find(name)->tensor;
  if (stored.shape() != shape) {
    return fmt::format("shape {} where {} is needed", stored.shape_text(), shape.to_string());
  }
  if (!stored.dtype || !can_widen(*stored.dtype)) {
    return fmt::format("dtype {} where F32, BF16, F16 or F8_E4M3 is needed", stored.dtype_name);
  }
  return *stored.dtype == DType::kE4M3 ? problem_of_scale(name, shape) : std::string();
}

std::string CheckpointReader::problem_of_scale(std::string_view name, const Shape& shape) const {
  if (shape.rank() != 2) return "dtype F8_E4M3, which only matrices may have";
  const std::string scale_name = std::string(name) + std::string(kScaleSuffix);
  const Located* scale = find(scale_name);
  if (scale == nullptr) return fmt::format("F8_E4M3 without its scales {}", scale_name);
  const Shape wanted{blocks(shape[0]), blocks(shape[1])};
  if (scale->tensor->shape() != wanted) {
    return fmt::format("scales {} of shape {} where {} is needed", scale_name,
                       scale->tensor->shape_text(), wanted.to_string());
  }
  if (scale->tensor->dtype != DType::kF32) {
    return fmt::format("scales {} of dtype {} where F32 is needed", scale_name,
                       scale->tensor->dtype_name);
  }
  return "";
}

bool CheckpointReader::is_scale_in_use(std::string_view name, const NameSet& wanted) const {
  if (!name.ends_with(kScaleSuffix)) return false;
  const std::string_view weight = name.substr(0, name.size() - kScaleSuffix.size());
  const Located* scaled = find(weight);
  return scaled != nullptr && scaled->tensor->dtype == DType::kE4M3 &&
         (wanted.contains(weight) || !stored_only_reason(weight, config_.model).empty());
}

Result<std::vector<std::string>> CheckpointReader::check(std::span<const NamedShape> needed) const {
  ProblemList problems;
  NoteList notes;
  NameSet wanted;
  for (const NamedShape& tensor : needed) {
    wanted.insert(tensor.name);
    if (!contains(tensor.name)) {
      problems.add("missing", tensor.name, "");
    } else if (const std::string problem = problem_of(tensor.name, tensor.shape);
               !problem.empty()) {
      problems.add("wrong", tensor.name, problem);
    }
  }
  for (const SafetensorsFile& shard : shards_) {
    for (const StoredTensor& tensor : shard.tensors()) {
      if (wanted.contains(tensor.name) || is_scale_in_use(tensor.name, wanted)) continue;
      const std::string_view reason = stored_only_reason(tensor.name, config_.model);
      const std::string problem = problem_of_stored_only(tensor, reason, config_.model);
      if (reason.empty()) {
        problems.add("extra", tensor.name, "");
      } else if (!problem.empty()) {
        problems.add("wrong", tensor.name, problem);
      } else {
        notes.add(reason, tensor.name);
      }
    }
  }
  if (!problems.empty()) {
    return invalid_input("{} does not hold the tensors that its config.json describes:{}",
                         folder_.string(), problems.text());
  }
  return notes.lines();
}

Status CheckpointReader::read(std::string_view name, const Shape& shape,
                              std::span<float> out) const {
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(out.size()), shape.count());
  const Located* located = find(name);
  if (located == nullptr) return invalid_input("{}: missing: {}", folder_.string(), name);
  if (const std::string problem = problem_of(name, shape); !problem.empty()) {
    return invalid_input("{}: wrong: {}: {}", folder_.string(), name, problem);
  }
  const SafetensorsFile& shard = shards_[located->shard];
  const DType dtype = *located->tensor->dtype;
  if (dtype == DType::kF32)
    return shard.read_bytes(*located->tensor, 0, std::as_writable_bytes(out));
  if (dtype == DType::kE4M3) return read_scaled(*located, name, shape, out);
  std::vector<std::byte> buffer(std::min(kChunkElements, out.size()) * size_of(dtype));
  for (std::size_t first = 0; first < out.size(); first += kChunkElements) {
    const std::span<float> part = out.subspan(first, std::min(kChunkElements, out.size() - first));
    const std::span<std::byte> bytes = std::span(buffer).first(part.size() * size_of(dtype));
    SLUICE_TRY(shard.read_bytes(*located->tensor, first * size_of(dtype), bytes));
    widen(dtype, bytes, part);
  }
  return {};
}

Status CheckpointReader::read_scaled(const Located& weight, std::string_view name,
                                     const Shape& shape, std::span<float> out) const {
  const Located& scale = *find(std::string(name) + std::string(kScaleSuffix));
  const auto columns = static_cast<std::size_t>(shape[1]);
  const auto scale_columns = static_cast<std::size_t>(blocks(shape[1]));
  std::vector<float> scales(static_cast<std::size_t>(blocks(shape[0])) * scale_columns);
  SLUICE_TRY(
      shards_[scale.shard].read_bytes(*scale.tensor, 0, std::as_writable_bytes(std::span(scales))));
  const auto rows_at_once = static_cast<std::int64_t>(
      std::max<std::size_t>(1, kChunkElements / std::max<std::size_t>(1, columns)));
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(rows_at_once, shape[0])) *
                               columns);
  for (std::int64_t row = 0; row < shape[0]; row += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, shape[0] - row);
    const std::size_t first = static_cast<std::size_t>(row) * columns;
    const std::span<float> values = out.subspan(first, static_cast<std::size_t>(rows) * columns);
    const std::span<std::byte> stored = std::span(bytes).first(values.size());
    SLUICE_TRY(shards_[weight.shard].read_bytes(*weight.tensor, first, stored));
    widen(DType::kE4M3, stored, values);
    multiply_by_blocks(values, columns, row, scales);
  }
  return {};
}

}  // namespace sluice::store
