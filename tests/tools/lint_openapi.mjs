// Lints an OpenAPI document with the recommended rules, warnings counting as errors; prints what is wrong with it, one
// line each, and exits 1 if anything is.
//
//   node lint_openapi.mjs DIRECTORY-WITH-node_modules DOCUMENT
//
// Called by tests/admin_contract.rs.

import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [directory, ref] = process.argv.slice(2);
const require = createRequire(join(resolve(directory), 'package.json'));
const { createConfig, lint } = require('@redocly/openapi-core');

const config = await createConfig({
  extends: ['recommended-strict', 'spec'],
  rules: {
    // The document is served by the listener that it describes: its server is "/".
    'no-server-trailing-slash': 'off',
    'operation-operationId-unique': 'error',
    'no-unused-components': 'error',
    'no-invalid-schema-examples': 'error',
    'no-invalid-media-type-examples': 'error',
  },
});
const problems = await lint({ ref, config });
for (const { ruleId, message, location } of problems) {
  console.log(`${location[0].pointer}: ${message} (${ruleId})`);
}
process.exitCode = problems.length === 0 ? 0 : 1;
