#pragma once

/// The report of a run as one HTML file that needs nothing else.

#include "droidflow/pipeline/report_data.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace droidflow {

/// Text as HTML shows it, also in an attribute in double quotes.
[[nodiscard]] std::string EscapeHtml(std::string_view text);

/// JSON as it may stand in a <script>: the same values, without '<'.
[[nodiscard]] std::string EscapeJsonForScript(std::string_view json);

/// What the page of 10,000 episodes has at most.
inline constexpr std::size_t kMostReport_bytes = 20'000'000;

/// The same data gives the same bytes.
///
/// @param data  loses what such a page has no room for, first the middles of long texts, then
///              pictures; a note says so.
[[nodiscard]] std::string FormatReportPage(ReportData& data);

}  // namespace droidflow
