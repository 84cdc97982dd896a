// SPDX-License-Identifier: Apache-2.0
// Shows the OpenAPI document. Nothing is loaded from another host: the badge of
// an online validator is off.
"use strict";

SwaggerUIBundle({
  url: document.getElementById("docs").dataset.document,
  dom_id: "#docs",
  validatorUrl: null,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  showExtensions: true,
  tagsSorter: "alpha",
});
