// visit_fields: one list of a struct's fields that parsing, dumping, checking, help and comparing
// all read.
//
// A config struct declares
//   template <class V> void visit_fields(V&& visit) {
//     visit(field("steps", steps).range(1, 1e9).doc("optimizer steps of the whole run"));
//   }
// Field types: bool, std::int64_t, double, std::string, std::optional of these,
// std::vector<std::string>, std::vector<std::int64_t> (the range is of each item).
#pragma once

#include <limits>
#include <string_view>
#include <vector>

namespace sluice {

template <class T>
struct Field {
  std::string_view name;
  T& value;
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  std::string_view text;
  std::vector<std::string_view> choices;  ///< allowed strings; empty: any

  Field range(double low, double high) && {
    minimum = low;
    maximum = high;
    return std::move(*this);
  }
  Field one_of(std::vector<std::string_view> allowed) && {
    choices = std::move(allowed);
    return std::move(*this);
  }
  Field doc(std::string_view sentence) && {
    text = sentence;
    return std::move(*this);
  }
};

template <class T>
[[nodiscard]] Field<T> field(std::string_view name, T& value) {
  return {.name = name, .value = value, .text = {}, .choices = {}};
}

}  // namespace sluice
