#pragma once

/// Buckets of Google Cloud Storage that everybody may read.

#include "droidflow/core/source.h"
#include "droidflow/transfer/clock.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace droidflow {

struct BucketOptions {
  /// Empty: STORAGE_EMULATOR_HOST (http where it has no scheme), or https://storage.googleapis.com.
  std::string endpoint = {};
  std::chrono::seconds stall_timeout{60};   ///< below 1 kB/s for so long: the try has failed
  int retries = 5;                          ///< HttpOptions::retries
  std::chrono::milliseconds backoff{1000};  ///< HttpOptions::backoff
  std::chrono::seconds max_wait{60};        ///< HttpOptions::max_wait
  int page_size = 1000;                     ///< names per answer to a listing
  Clock* clock = &SystemClock();
};

/// Whether a text is meant as a bucket: "gs://…".
[[nodiscard]] bool IsBucketUrl(std::string_view text);

/// What lies below "gs://BUCKET/PREFIX", by the JSON API over HTTPS and without a token.
///
/// A name that changes sides while a listing is read page by page is listed once. Read does not
/// go on after a break, as transfer/download.h does.
///
/// Errors  kNotFound, status not_in_bucket: no such bucket, folder or file; kUsage, status
///         forbidden: it is not for everybody; kTransient as HttpClient's.
/// Memory  200 bytes per entry of a listing, 256 KiB per Read.
/// Source  Cloud Storage JSON API v1, objects.list and objects.get.
///
/// @return  kUsage: not "gs://BUCKET" or "gs://BUCKET/PREFIX", or an endpoint that is no URL. Talks
///          to nobody yet.
[[nodiscard]] Result<std::unique_ptr<Source>> OpenBucket(const std::string& url,
                                                         BucketOptions options = {});

}  // namespace droidflow
