// Lines are written whole with one write(), so a reader never sees half a line of a living run.
#include "runtime/engine/metrics_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "runtime/engine/trainer.hpp"
#include "runtime/store/file.hpp"

namespace sluice::engine {
namespace {

using nlohmann::ordered_json;

constexpr const char* kFileName = "metrics.jsonl";
constexpr std::uint64_t kBytesMax = std::uint64_t{4} << 30;

// The lines that parse, with the step they belong to; a half-written last line is no line.
std::vector<ordered_json> parse_lines(const std::string& text) {
  std::vector<ordered_json> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    ordered_json object = ordered_json::parse(line, nullptr, false);
    if (object.is_object() && object.contains("step") && object["step"].is_number_integer())
      out.push_back(std::move(object));
  }
  return out;
}

ordered_json losses(const actors::StepReport& report) {
  ordered_json out;
  out["loss"] = report.main;
  out["mtp"] = report.mtp;
  out["balance"] = report.balance;
  return out;
}

}  // namespace

Result<MetricsLog> MetricsLog::open(const std::filesystem::path& run_directory,
                                    std::int64_t first_step) {
  const std::filesystem::path path = run_directory / kFileName;
  std::string kept;
  if (first_step > 0 && std::filesystem::exists(path)) {
    SLUICE_ASSIGN(const std::string text, store::read_text(path, kBytesMax));
    for (const ordered_json& line : parse_lines(text)) {
      const bool validation = line.value("kind", "") == "validation";
      const std::int64_t step = line["step"].get<std::int64_t>();
      if (step < first_step || (validation && step == first_step)) kept += line.dump() + "\n";
    }
  }
  SLUICE_TRY(store::write_text(path, kept));
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) return failed("{}: {}", path.string(), std::strerror(errno));
  return MetricsLog(path, file);
}

MetricsLog::MetricsLog(MetricsLog&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

MetricsLog& MetricsLog::operator=(MetricsLog&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  return *this;
}

MetricsLog::~MetricsLog() {
  if (file_ >= 0) ::close(file_);
}

Status MetricsLog::write_line(const std::string& line) {
  const ssize_t written = ::write(file_, line.data(), line.size());
  if (written != static_cast<ssize_t>(line.size())) {
    return failed("{}: {}; free some space and go on with --resume", path_.string(),
                  std::strerror(errno));
  }
  return {};
}

Status MetricsLog::step(const StepProgress& progress) {
  const actors::StepReport& report = progress.report;
  ordered_json line = {{"kind", "train"}, {"step", report.index}};
  line.update(losses(report));
  line["total"] = report.total;
  line["gradient_norm"] = report.gradient_norm;
  line["learning_rate"] = report.learning_rate;
  ordered_json violations;
  for (const actors::StepReport::Layer& layer : report.layers)
    violations[std::to_string(layer.layer)] = layer.max_violation;
  line["max_violation"] = std::move(violations);
  line["tokens"] = report.tokens;
  line["seconds"] = progress.seconds;
  line["tokens_per_s"] = progress.tokens_per_s;
  line["memory_bytes"] = progress.memory_bytes;
  return write_line(line.dump() + "\n");
}

Status MetricsLog::validation(std::int64_t step, const actors::StepReport& report,
                              double unigram_loss) {
  ordered_json line = {{"kind", "validation"}, {"step", step}};
  line.update(losses(report));
  line["unigram_loss"] = unigram_loss;
  return write_line(line.dump() + "\n");
}

Result<MetricsHistory> read_metrics(const std::filesystem::path& run_directory) {
  const std::filesystem::path path =
      std::filesystem::is_directory(run_directory) ? run_directory / kFileName : run_directory;
  if (!std::filesystem::exists(path)) {
    return invalid_input(
        "{}: there is no such file; name the folder of a run (run.directory of its config)",
        path.string());
  }
  SLUICE_ASSIGN(const std::string text, store::read_text(path, kBytesMax));
  MetricsHistory out;
  std::vector<double> rates;
  for (const ordered_json& line : parse_lines(text)) {
    if (!line.contains("loss") || !line["loss"].is_number()) continue;
    const MetricsHistory::Point point{line["step"].get<std::int64_t>(), line["loss"].get<double>()};
    if (line.value("kind", "") == "validation") {
      out.validation.push_back(point);
      out.unigram_loss = line.value("unigram_loss", 0.0);
    } else {
      out.training.push_back(point);
      rates.push_back(line.value("tokens_per_s", 0.0));
    }
  }
  if (out.training.empty()) return invalid_input("{}: holds no training steps", path.string());
  std::sort(rates.begin(), rates.end());
  out.tokens_per_s = rates[rates.size() / 2];
  return out;
}

}  // namespace sluice::engine
