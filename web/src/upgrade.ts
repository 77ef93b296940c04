/** One line in a page: `<script type="module" src="lichen/upgrade.js"></script>`. */
import { upgrade } from "./index.js";

if (document.readyState === "loading") addEventListener("DOMContentLoaded", () => void upgrade());
else void upgrade();
