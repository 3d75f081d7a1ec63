// Checks names, units and sources of a hardware description.
#include "runtime/config/hardware_file.hpp"

#include <algorithm>
#include <cmath>

#include "runtime/config/key_text.hpp"
#include "runtime/config/toml_reader.hpp"
#include "runtime/store/file.hpp"

namespace sluice::config {
namespace {

constexpr std::uint64_t kFileBytesMax = 1u << 20;
// Numbers that may be nothing at all; the others divide.
constexpr std::string_view kMayBeZero[] = {"device.communication_sms", "routing", "launch.gap",
                                           "link.ib_latency", "link.nvlink_latency"};

struct Quantity {
  std::string key;
  double* value = nullptr;
  std::string unit;
};
// What the file gave for one.
struct Given {
  bool value = false, unit = false, source = false;
  std::int64_t line = 0;
};

template <class Fields>
std::vector<Quantity> quantities_of(Fields& fields) {
  std::vector<Quantity> out;
  fields.visit_fields([&](std::string_view key, double& value, std::string_view unit) {
    out.push_back({std::string(key), &value, std::string(unit)});
  });
  return out;
}

class Reader {
 public:
  Reader(std::string_view name, std::vector<Quantity> quantities,
         std::map<std::string, std::string, std::less<>>& sources)
      : name_(name),
        quantities_(std::move(quantities)),
        given_(quantities_.size()),
        sources_(sources) {}

  /// Strings without unit or source.
  void text(std::string key, std::string& value) { texts_.emplace_back(std::move(key), &value); }

  Status read(std::string_view toml) {
    SLUICE_ASSIGN(const auto assignments, read_toml(toml, name_));
    for (const Assignment& assignment : assignments) SLUICE_TRY(take(assignment));
    return check_complete();
  }

 private:
  Status take(const Assignment& assignment) {
    for (auto& [key, value] : texts_) {
      if (key != assignment.key) continue;
      const auto* text = std::get_if<std::string>(&assignment.value);
      if (text == nullptr) return wrong(assignment, "must be a string");
      *value = *text;
      return {};
    }
    const std::size_t dot = assignment.key.rfind('.');
    const std::string key = assignment.key.substr(0, dot);
    const std::string part = dot == std::string::npos ? "" : assignment.key.substr(dot + 1);
    for (std::size_t i = 0; i < quantities_.size(); ++i) {
      if (quantities_[i].key == assignment.key) {
        return wrong(assignment, fmt::format("must be {{ value = ..., unit = \"{}\", source = "
                                             "\"...\" }}",
                                             quantities_[i].unit));
      }
      if (quantities_[i].key == key) return take_part(i, part, assignment);
    }
    return unknown(assignment);
  }

  Status take_part(std::size_t index, std::string_view part, const Assignment& assignment) {
    Given& given = given_[index];
    if (given.line == 0) given.line = assignment.line;
    if (part == "value") {
      given.value = true;
      return take_value(quantities_[index], assignment);
    }
    const auto* text = std::get_if<std::string>(&assignment.value);
    if (part == "unit") {
      given.unit = true;
      if (text == nullptr || *text != quantities_[index].unit) {
        return wrong(assignment, fmt::format("must be \"{}\"", quantities_[index].unit));
      }
      return {};
    }
    if (part == "source") {
      given.source = true;
      if (text == nullptr || text->empty()) return wrong(assignment, "must say where it is from");
      sources_[quantities_[index].key] = *text;
      return {};
    }
    return wrong(assignment, "is unknown; a number has value, unit and source");
  }

  Status take_value(const Quantity& quantity, const Assignment& assignment) {
    if (const auto* integer = std::get_if<std::int64_t>(&assignment.value)) {
      *quantity.value = static_cast<double>(*integer);
    } else if (const auto* number = std::get_if<double>(&assignment.value)) {
      *quantity.value = *number;
    } else {
      return wrong(assignment, "must be a number");
    }
    const bool may_be_zero = std::find(std::begin(kMayBeZero), std::end(kMayBeZero),
                                       quantity.key) != std::end(kMayBeZero);
    const double value = *quantity.value;
    if (std::isfinite(value) && (value > 0 || (may_be_zero && value == 0))) return {};
    return wrong(assignment,
                 fmt::format("is {}, must be {} 0", value, may_be_zero ? "at least" : "above"));
  }

  Status wrong(const Assignment& assignment, std::string_view what) const {
    return invalid_input("{}:{}: {} {}", name_, assignment.line, assignment.key, what);
  }
  Status unknown(const Assignment& assignment) const {
    std::vector<std::string> names;
    for (const Quantity& quantity : quantities_) names.push_back(quantity.key);
    for (const auto& [key, value] : texts_) names.push_back(key);
    std::string key = assignment.key;
    for (const std::string_view part : {".value", ".unit", ".source"}) {
      if (key.ends_with(part)) key.resize(key.size() - part.size());
    }
    const std::string nearest = nearest_name(key, names);
    return invalid_input("{}:{}: unknown key {:.100}{}", name_, assignment.line, key,
                         nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
  }

  Status check_complete() const {
    for (std::size_t i = 0; i < quantities_.size(); ++i) {
      const Given& given = given_[i];
      const std::string& key = quantities_[i].key;
      if (given.line == 0) {
        return invalid_input(
            "{}: {} is missing; add {} = {{ value = ..., unit = \"{}\", source = "
            "\"...\" }}",
            name_, key, key, quantities_[i].unit);
      }
      const std::string_view missing = !given.value    ? "value"
                                       : !given.unit   ? "unit"
                                       : !given.source ? "source"
                                                       : "";
      if (!missing.empty()) {
        return invalid_input("{}:{}: {} has no {}", name_, given.line, key, missing);
      }
    }
    for (const auto& [key, value] : texts_) {
      if (value->empty()) return invalid_input("{}: {} is missing", name_, key);
    }
    return {};
  }

  std::string_view name_;
  std::vector<Quantity> quantities_;
  std::vector<Given> given_;
  std::vector<std::pair<std::string, std::string*>> texts_;
  std::map<std::string, std::string, std::less<>>& sources_;
};

std::filesystem::path rates_path(const std::filesystem::path& file, std::string_view rates) {
  return file.parent_path() / fmt::format("{}.{}.toml", file.stem().string(), rates);
}

}  // namespace

Status parse_device(std::string_view toml, std::string_view name, HardwareFile& out,
                    std::string& default_rates) {
  Reader reader(name, quantities_of(out.hardware), out.sources);
  reader.text("device.name", out.hardware.name);
  reader.text("rates", default_rates);
  SLUICE_TRY(reader.read(toml));
  if (out.hardware.communication_sms >= out.hardware.sms) {
    return invalid_input("{}: device.communication_sms {} leaves none of device.sms {}", name,
                         out.hardware.communication_sms, out.hardware.sms);
  }
  return {};
}

Status parse_rates(std::string_view toml, std::string_view name, HardwareFile& out) {
  Reader reader(name, quantities_of(out.hardware.rates), out.sources);
  reader.text("name", out.hardware.rates.name);
  return reader.read(toml);
}

std::vector<std::string> rate_sets(const std::filesystem::path& file) {
  std::vector<std::string> out;
  const std::string prefix = file.stem().string() + ".";
  std::error_code error;
  const auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    constexpr std::string_view kEnd = ".toml";
    if (name.size() > prefix.size() + kEnd.size() && name.starts_with(prefix) &&
        name.ends_with(kEnd)) {
      out.push_back(name.substr(prefix.size(), name.size() - prefix.size() - kEnd.size()));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<HardwareFile> load_hardware(const std::filesystem::path& file, std::string_view rates) {
  HardwareFile out;
  std::string chosen;
  SLUICE_ASSIGN(const std::string device, store::read_text(file, kFileBytesMax));
  SLUICE_TRY(parse_device(device, file.string(), out, chosen));
  if (!rates.empty()) chosen = rates;
  const std::vector<std::string> known = rate_sets(file);
  if (std::find(known.begin(), known.end(), chosen) == known.end()) {
    return invalid_input("{} has no rates \"{:.40}\"; there are {}", file.string(), chosen,
                         known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
  }
  const std::filesystem::path path = rates_path(file, chosen);
  SLUICE_ASSIGN(const std::string text, store::read_text(path, kFileBytesMax));
  SLUICE_TRY(parse_rates(text, path.string(), out));
  return out;
}

}  // namespace sluice::config
