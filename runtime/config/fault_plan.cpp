// Reads a fault plan and checks its keys.
#include "runtime/config/fault_plan.hpp"

#include "runtime/config/assign.hpp"
#include "runtime/store/file.hpp"

namespace sluice::config {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    const std::string_view part = trimmed(text.substr(0, end));
    if (!part.empty()) parts.emplace_back(part);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

Status take(FaultPlan& plan, const Assignment& assignment, std::string_view name) {
  const auto wrong = [&](std::string_view what) {
    return invalid_input("{}:{}: {} {}", name, assignment.line, assignment.key, what);
  };
  if (assignment.key == "about") {
    return convert(assignment.value, plan.about) ? Status{} : wrong("must be a string");
  }
  std::vector<std::string> keys;
  std::string problem;
  bool found = false;
  plan.visit_sections([&](std::string_view section, auto& fields) {
    fields.visit_fields([&](auto&& f) {
      keys.push_back(fmt::format("{}.{}", section, f.name));
      if (keys.back() != assignment.key) return;
      found = true;
      problem = assign(f, assignment.value);
    });
  });
  if (!problem.empty()) return wrong(problem);
  if (found) return {};
  const std::string nearest = nearest_name(assignment.key, keys);
  return wrong(nearest.empty() ? "is unknown"
                               : fmt::format("is unknown; did you mean {}?", nearest));
}

Status check(const FaultPlan& plan, std::string_view name) {
  if (plan.workload.config.empty()) return invalid_input("{}: workload.config is missing", name);
  for (const std::string& choice : plan.workload.draws) {
    if (settings_of(choice).empty()) {
      return invalid_input("{}: workload.draws: \"{}\" must be \"key = value | value\"", name,
                           choice);
    }
  }
  return {};
}

}  // namespace

std::vector<std::string> words_of(std::string_view layout) { return split(layout, ' '); }

std::vector<std::string> settings_of(std::string_view draw) {
  const std::size_t equals = draw.find('=');
  if (equals == std::string_view::npos) return {};
  std::vector<std::string> out;
  for (const std::string& value : split(draw.substr(equals + 1), '|'))
    out.push_back(fmt::format("{}={}", trimmed(draw.substr(0, equals)), value));
  return out;
}

Result<FaultPlan> parse_fault_plan(std::string_view toml, std::string_view name) {
  FaultPlan plan;
  SLUICE_ASSIGN(const auto assignments, read_toml(toml, name));
  for (const Assignment& assignment : assignments) SLUICE_TRY(take(plan, assignment, name));
  SLUICE_TRY(check(plan, name));
  return plan;
}

Result<FaultPlan> load_fault_plan(const std::filesystem::path& file) {
  constexpr std::uint64_t kBytesMax = 1u << 20;
  SLUICE_ASSIGN(const std::string text, store::read_text(file, kBytesMax));
  SLUICE_ASSIGN(FaultPlan plan, parse_fault_plan(text, file.string()));
  plan.file = file;
  return plan;
}

}  // namespace sluice::config
