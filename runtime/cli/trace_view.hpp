// What `sluice trace report` shows: a report as text, JSON, a page and a picture.
#pragma once

#include <string>
#include <string_view>

#include "runtime/cli/schedule_view.hpp"
#include "runtime/trace/report.hpp"

namespace sluice {

[[nodiscard]] std::string report_text(const trace::Timeline& timeline, const trace::Report& report,
                                      TableStyle style);

/// Shares are of the steps' time. docs/how-to-debug.md names the parts.
[[nodiscard]] std::string report_json(const trace::Timeline& timeline, const trace::Report& report);

/// One file that needs no other: kTracePage with the report's JSON and the shown step's tasks.
[[nodiscard]] std::string report_page(const trace::Timeline& timeline, const trace::Report& report);

/// The shown step: a row for each actor that ran tasks, a box for each task.
[[nodiscard]] std::string report_svg(const trace::Timeline& timeline, const trace::Report& report);

/// trace_page.html: data goes in place of kTracePageData.
extern const std::string_view kTracePage;
inline constexpr std::string_view kTracePageData = "{\"data\": \"here\"}";

/// "training step 3", or "step 3".
[[nodiscard]] std::string step_name(const trace::Timeline& timeline, std::int32_t step);

}  // namespace sluice
