// SPDX-License-Identifier: Apache-2.0
// Makes the pages more comfortable; they do all they must without it.
"use strict";

const at = (id) => document.getElementById(id);
const code = at("code");
const serial = at("serial_number");

// In groups of five, as on the card; what is no code is left as it is.
const grouped = (text) => {
  const symbols = text.replace(/[\s\p{Pd}]/gu, "");
  return /^[0-9A-Za-z]{16,25}$/.test(symbols)
    ? symbols.toUpperCase().replace(/.{5}(?=.)/g, "$&-")
    : text;
};

// The QR code of a card leads to /voucher/#CODE. What stands behind # is not sent
// to any server; here it is taken out of the address bar as well.
function takeFromAddress() {
  const found = /^#((?:[0-9A-Za-z]{5}-?){3}[0-9A-Za-z]{5})(?:\/([0-9A-Za-z]*))?$/.exec(location.hash);
  if (!found) return;
  history.replaceState(null, "", location.pathname + location.search);
  code.value = grouped(found[1]);
  if (found[2]) serial.value = found[2];
  at("filled-in").hidden = false;
  serial.focus();
}

function prepareForm(form) {
  takeFromAddress();
  addEventListener("hashchange", takeFromAddress);

  code.addEventListener("change", () => {
    // Somebody may paste the whole address that the QR code of a card leads to.
    code.value = grouped(code.value.trim().replace(/^\S*#/, ""));
  });

  // To the group of the code that is most likely wrong.
  if (code.dataset.group) {
    const begins = (code.dataset.group - 1) * 6;
    code.focus();
    code.setSelectionRange(begins, begins + 5);
  }

  // A second click on the button does nothing; it would do no harm either.
  const button = form.querySelector("button");
  const words = button.textContent;
  let sent = false;
  const wait = (waiting) => {
    sent = waiting;
    button.textContent = waiting ? button.dataset.wait : words;
  };
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    else setTimeout(wait, 8000, false);
    wait(true);
  });
  addEventListener("pageshow", () => wait(false));

  // The links to other languages keep what was typed, and tell no server.
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", () => {
      const typed = grouped(code.value);
      link.hash = /^(\w{5}-){3}\w{5}$/.test(typed) ? typed + "/" + serial.value.replace(/[^0-9A-Za-z]/g, "") : "";
    });
  }
}

function prepareResult(copy) {
  const said = at("copied");
  if (navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(copy.dataset.code);
        said.textContent = copy.dataset.copied;
      } catch {
        getSelection().selectAllChildren(at("release-code"));
        said.textContent = copy.dataset.notCopied;
      }
    });
  }
  at("print").hidden = false;
  at("print").addEventListener("click", () => print());
}

if (at("redeem")) prepareForm(at("redeem"));
if (at("copy")) prepareResult(at("copy"));
