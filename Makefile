# The commands people type. CMakePresets.json and scripts/ do the work.
#
#   make          the binary: build/release/bin/droidflow
#   make demo     builds it and takes six made-up episodes through it, into demo/
#   make test     builds and runs the tests
#   make bench    builds and runs the benchmarks
#   make package  a Debian package for the release that this machine has, in build/package/
#   make tarball  an archive with all libraries, for machines where you are not root; there too
#   make lint     format, layers and clang-tidy, without changing a file
#   make format   clang-format on every source file
#   make clean    removes build/ and demo/
#
# PRESET=dev|release|asan|tsan|cuda|ci chooses another build. BOOTSTRAP=true leaves the system's
# packages alone.

PRESET ?= $(if $(CI),ci,release)
BOOTSTRAP ?= scripts/bootstrap
# The distribution's, which has the distribution's NumPy.
PYTHON ?= /usr/bin/python3
BUILD = build/$(PRESET)

.PHONY: build demo test bench package tarball lint check-format check-layers tidy format clean

build:
	@$(BOOTSTRAP) build
	@test -f $(BUILD)/build.ninja || cmake --preset $(PRESET) -DDROIDFLOW_BUILD_TESTS=OFF
	@cmake --build $(BUILD) --target droidflow

demo: build
	@scripts/demo $(BUILD)/bin/droidflow demo

test:
	@$(BOOTSTRAP) build test
	@cmake --preset $(PRESET) -DDROIDFLOW_BUILD_TESTS=ON
	@cmake --build $(BUILD)
	@rm -f $(BUILD)/tests.xml
	@status=0; ctest --preset $(PRESET) --parallel "$$(($$(nproc) + 1))" --output-junit tests.xml || status=$$?; \
	  tools/test_summary.py $(BUILD)/tests.xml; exit $$status

bench: build
	@$(BOOTSTRAP) build bench
	@cmake --preset $(PRESET) -DDROIDFLOW_BUILD_BENCH=ON
	@cmake --build $(BUILD) --target bench/all
	@for program in $(BUILD)/bench/*_speed $(BUILD)/bench/*_overlap $(BUILD)/bench/*_accuracy; do printf '\n== %s\n' "$$program"; "$$program" || exit; done
	@for script in $(filter-out bench/common.py,$(wildcard bench/*.py)) $(wildcard python/bench/*.py); do \
	  printf '\n== %s\n' "$$script"; \
	  DROIDFLOW_BIN="$(CURDIR)/$(BUILD)/bin/droidflow" $(PYTHON) "$$script" || exit; \
	done

package tarball: PRESET = package
package: build
	@$(BOOTSTRAP) package
	@cd $(BUILD) && cpack -G DEB

tarball: build
	@$(BOOTSTRAP) package
	@scripts/make_tarball $(BUILD)

lint: check-format check-layers tidy

SOURCES = git ls-files -z --cached --others --exclude-standard '*.h' '*.cc' '*.cu'

check-format:
	@$(BOOTSTRAP) lint
	@$(SOURCES) | xargs -0 clang-format --dry-run -Werror

check-layers:
	@$(BOOTSTRAP) lint
	@$(PYTHON) tools/check_layers_test.py
	@tools/check_layers.py

tidy:
	@$(BOOTSTRAP) build lint
	@cmake --preset tidy -DDROIDFLOW_BUILD_TESTS=OFF
	@cmake --build build/tidy --target droidflow_commit
	@run-clang-tidy -quiet -extra-arg=-Wno-unknown-warning-option -p build/tidy '/src/droidflow/'

format:
	@$(BOOTSTRAP) lint
	@$(SOURCES) | xargs -0 clang-format -i

clean:
	rm -rf build demo
