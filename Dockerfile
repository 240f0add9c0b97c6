# Heddle's image: one file of JavaScript, Node, and iptables for pods' init containers. The subcommand decides the role.
#
#     docker buildx build --platform linux/amd64,linux/arm64 -t heddle/heddle:0.1.0 .
#
# The bundle is the same for every platform: it is made once, on the platform that builds.
FROM --platform=$BUILDPLATFORM node:24-bookworm-slim AS build
WORKDIR /heddle
# Where npm takes packages from, and a file of the base image with further CAs that it trusts, when not as usual.
ARG NPM_CONFIG_REGISTRY
ARG NODE_EXTRA_CA_CERTS
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY proto ./proto
COPY scripts ./scripts
COPY tsconfig.json ./
RUN node scripts/gen.ts
COPY src ./src
RUN node scripts/bundle.ts

FROM node:24-bookworm-slim
RUN apt-get update \
  && apt-get install -y --no-install-recommends iptables \
  && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/apt /var/log/dpkg.log /usr/local/lib/node_modules /opt/yarn*
COPY --from=build /heddle/dist/ /app/
ENV NODE_ENV=production
# Numbers, so that the kubelet can tell that it is not root.
USER 1000:1000
ENTRYPOINT ["node", "/app/heddle.js"]
